/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * monitor.c - the part of every monitor that is the same: the gate, the listeners, the
 * two threads, and who starts and stops them. What happens is monitor.h's to say.
 *
 * Why a lookup that begins after a change misses nothing. The kernel holds whoever
 * changes a mapping until its event has been read. The reader shuts the gate before it
 * reads (a full barrier lies between), and opens it when every listener was told:
 *
 *	reader:   shut; read ......... tell all; open
 *	changer:  unmap ... [held] ... returns ──┐ happens before
 *	lookup:                                  └─> load the gate
 *
 * The load comes after the read, thus after the shut: it finds the gate shut, or open
 * again, and then all were told. Somebody else's event may keep the gate shut: then
 * monitor_settle() waits one turn too many, which is never wrong.
 *
 * Waiting for it is waiting for the event lock, which the reader has for as long as the
 * gate is shut. It is a lock with priority inheritance: the kernel hands it to the next
 * in line, so that a reader with a flood of events cannot take it again and again from
 * under a waiter, and a waiter with a real-time priority lends it to the reader.
 *
 * The reader sleeps until there is an event: with the changer asleep until the event is
 * read, the two pass one CPU to and fro, which was tried against a reader that polls on
 * for a while, and is faster.
 *
 * With words (struct watch) all of that is the kernel's: the gate stays open, and the
 * reader is nobody's but the reaper's. It looks through all that is watched, so it
 * rests after each time (RESTS).
 *
 * Fork. struct monitor lies in pages which a child gets zeroed. A child can therefore
 * tell that a monitor is not its own (the number of the process in it is not its), and
 * finds the gate shut. It starts one of its own in other pages; so does the lock that
 * guards starting and stopping: somebody may have held the parent's during fork().
 *
 * Locks: `lock` (starting and stopping) > `reaping_lock` > `events`. No application
 * thread allocates, unmaps or pins with one of the last two held, since the reader
 * takes `events`; nor with `lock`, except for the threads themselves, when nobody can
 * be held on their account.
 */
#include "monitor.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>

/* How often monitor_confirm() asks, and from when on it sleeps in between: a changer
 * may wait for a CPU before it is through. That makes a few milliseconds at most. */
#define PROBES 64
#define PATIENT 32
#define MOMENT_NS 20000

/* With words: the reader rests so many times as long as it has worked. */
#define RESTS 10

/* Stacks that are enough for what listeners do there; they release regions on the
 * reaper's. */
#define READER_STACK ((size_t)128 << 10)
#define REAPER_STACK ((size_t)512 << 10)

struct monitor {
	uint32_t gate __attribute__((aligned(64))); /* what lookups share; alone */

	pthread_mutex_t events __attribute__((aligned(64))); /* the event lock */
	struct monitor_listener *listeners; /* events, and to write, reaping_lock */
	bool told;			    /* events: somebody wants to be reaped */

	pthread_mutex_t reaping_lock;
	pthread_cond_t reaped;
	struct monitor_listener *reaping; /* whose reap is running */
	sem_t wanted;			  /* wakes the reaper */
	bool stopping;			  /* atomic */

	const struct monitor_ops *ops; /* from here on: set by the start */
	struct monitor_source *source;
	int fds[2]; /* the source's; what wakes the reader to stop */
	pthread_t reader, reaper;
	uint64_t generation; /* process_generation() */
	unsigned int users;  /* struct running.lock */
};

/* What runs in this process; in a page that a child gets zeroed, as pthread's mutexes
 * are when nobody holds them. */
static struct running {
	pthread_mutex_t lock;
	struct monitor *of[PINMEM_MONITOR_CALLER];
} * running;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static size_t whole_pages(size_t bytes)
{
	return page_ceil(bytes);
}

/* Memory that a child gets zeroed (4.14); NULL without a sentence. */
static void *map_wiped(size_t bytes)
{
	void *p = mmap(NULL, whole_pages(bytes), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	if (!madvise(p, whole_pages(bytes), MADV_WIPEONFORK))
		return p;
	munmap(p, whole_pages(bytes));
	return NULL;
}

static void make_running(void)
{
	running = map_wiped(sizeof(*running));
}

static bool ours(const struct monitor *m)
{
	return m->generation == process_generation();
}

/* --------------------------------------------------------------------- the reader */

/* Return: the source has events; false: the reader is to stop. */
static bool await_events(struct monitor *m)
{
	struct pollfd fds[2] = { { .fd = m->fds[0], .events = POLLIN },
				 { .fd = m->fds[1], .events = POLLIN } };

	while (poll(fds, ARRAY_SIZE(fds), -1) <= 0)
		; /* EINTR: a debugger's stop */
	return !fds[1].revents;
}

/* One turn. Return: is there work for the reaper? */
static bool take_events(struct monitor *m)
{
	bool told;

	pthread_mutex_lock(&m->events);
	/* in every thread's view before the read() that lets the changer go */
	if (!m->ops->words)
		__atomic_store_n(&m->gate, MONITOR_GATE_SHUT, __ATOMIC_SEQ_CST);
	if (!m->ops->take(m->source, m))
		m->fds[0] = -1; /* poll() passes it over */
	if (!m->ops->words)
		__atomic_store_n(&m->gate, MONITOR_GATE_OPEN, __ATOMIC_RELEASE);
	told = m->told;
	m->told = false;
	pthread_mutex_unlock(&m->events);
	return told;
}

void monitor_tell(struct monitor *m, uintptr_t start, uintptr_t end,
		  enum monitor_cause cause)
{
	for (struct monitor_listener *l = m->listeners; l; l = l->next)
		if (l->changed(l, start, end, cause)) {
			__atomic_store_n(&l->due, 1, __ATOMIC_RELEASE);
			m->told = true;
		}
}

void monitor_look(struct monitor *m)
{
	for (struct monitor_listener *l = m->listeners; l; l = l->next)
		if (l->look(l)) {
			__atomic_store_n(&l->due, 1, __ATOMIC_RELEASE);
			m->told = true;
		}
}

/* Until the time is over, or the reader is to stop: that stays readable. */
static void rest(struct monitor *m, uint64_t ns)
{
	struct pollfd stop = { .fd = m->fds[1], .events = POLLIN };
	const struct timespec t = { .tv_sec = (time_t)(ns / 1000000000),
				    .tv_nsec = (long)(ns % 1000000000) };

	ppoll(&stop, 1, &t, NULL);
}

static void *reader(void *arg)
{
	struct monitor *m = arg;
	uint64_t begin;

	pthread_setname_np(pthread_self(), "pinmem-reader");
	while (await_events(m)) {
		begin = now_ns();
		if (take_events(m))
			sem_post(&m->wanted);
		if (m->ops->words)
			rest(m, RESTS * (now_ns() - begin));
	}
	return NULL;
}

/* --------------------------------------------------------------------- the reaper */

/* Under reaping_lock: the next listener whose reap is wanted. */
static struct monitor_listener *next_due(struct monitor *m)
{
	struct monitor_listener *l = m->listeners;

	while (l && !__atomic_exchange_n(&l->due, 0, __ATOMIC_ACQUIRE))
		l = l->next;
	return l;
}

static void *reaper(void *arg)
{
	struct monitor *m = arg;
	struct monitor_listener *l;

	pthread_setname_np(pthread_self(), "pinmem-reaper");
	while (!__atomic_load_n(&m->stopping, __ATOMIC_ACQUIRE)) {
		while (sem_wait(&m->wanted))
			; /* EINTR: a debugger's stop */
		pthread_mutex_lock(&m->reaping_lock);
		while ((l = next_due(m))) {
			m->reaping = l;
			pthread_mutex_unlock(&m->reaping_lock);
			l->reap(l);
			pthread_mutex_lock(&m->reaping_lock);
			m->reaping = NULL;
			pthread_cond_broadcast(&m->reaped);
		}
		pthread_mutex_unlock(&m->reaping_lock);
	}
	return NULL;
}

void monitor_poke(struct monitor *m, struct monitor_listener *l)
{
	if (ours(m) && !__atomic_exchange_n(&l->due, 1, __ATOMIC_RELEASE))
		sem_post(&m->wanted);
}

/* --------------------------------------------------------------- start and stop */

/* With all signals blocked: they are the application's, for its own threads. */
static int start_thread(pthread_t *t, void *(*fn)(void *), void *arg, size_t stack)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int rc;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, stack);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(t, &attr, fn, arg);
	if (rc == EINVAL) /* a program with very much thread-local storage */
		rc = pthread_create(t, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return rc ? fail(rc, "no thread for the monitor: %s", strerror(rc)) : 0;
}

static void stop_reader(struct monitor *m)
{
	eventfd_write(m->fds[1], 1);
	pthread_join(m->reader, NULL);
}

static int start_threads(struct monitor *m)
{
	int rc = start_thread(&m->reader, reader, m, READER_STACK);

	if (rc)
		return rc;
	rc = start_thread(&m->reaper, reaper, m, REAPER_STACK);
	if (rc)
		stop_reader(m);
	return rc;
}

static void init_locks(struct monitor *m)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
	if (pthread_mutex_init(&m->events, &attr)) /* CONFIG_FUTEX_PI is not set */
		pthread_mutex_init(&m->events, NULL);
	pthread_mutexattr_destroy(&attr);
	pthread_mutex_init(&m->reaping_lock, NULL);
	pthread_cond_init(&m->reaped, NULL);
	sem_init(&m->wanted, 0, 0);
}

static int start(const struct monitor_ops *ops, struct monitor **out)
{
	struct monitor *m = map_wiped(sizeof(*m));
	int rc;

	if (!m)
		return fail(ENOMEM, "no memory for a monitor");
	init_locks(m);
	m->ops = ops;
	m->generation = process_generation();
	m->gate = MONITOR_GATE_OPEN;
	rc = ops->open(&m->source, &m->fds[0]);
	if (rc)
		goto unmap;
	m->fds[1] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m->fds[1] < 0) {
		rc = fail(errno, "no descriptor for the monitor: %s", strerror(errno));
		goto close_source;
	}
	rc = start_threads(m);
	if (rc)
		goto close_eventfd;
	*out = m;
	return 0;

close_eventfd:
	close(m->fds[1]);
close_source:
	ops->close(m->source);
unmap:
	munmap(m, whole_pages(sizeof(*m)));
	return rc;
}

/*
 * The watching ends while the reader still reads. If it were left to the descriptor's
 * close, it would not end as long as a forked child has the descriptor, too, and
 * everybody who unmaps what was watched would be held for ever.
 */
static void stop(struct monitor *m)
{
	m->ops->end(m->source, m);
	stop_reader(m);
	__atomic_store_n(&m->stopping, true, __ATOMIC_RELEASE);
	sem_post(&m->wanted);
	pthread_join(m->reaper, NULL);
	close(m->fds[1]);
	m->ops->close(m->source);
	munmap(m, whole_pages(sizeof(*m)));
}

/* -------------------------------------------------------------------- listeners */

static void attach(struct monitor *m, struct monitor_listener *l)
{
	l->due = 0;
	pthread_mutex_lock(&m->reaping_lock);
	pthread_mutex_lock(&m->events);
	l->next = m->listeners;
	m->listeners = l;
	pthread_mutex_unlock(&m->events);
	pthread_mutex_unlock(&m->reaping_lock);
}

/* `changed` runs under the event lock: who has that lock knows that it does not run. */
static void detach(struct monitor *m, struct monitor_listener *l)
{
	struct monitor_listener **at = &m->listeners;

	pthread_mutex_lock(&m->reaping_lock);
	pthread_mutex_lock(&m->events);
	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	pthread_mutex_unlock(&m->events);
	while (m->reaping == l)
		pthread_cond_wait(&m->reaped, &m->reaping_lock);
	pthread_mutex_unlock(&m->reaping_lock);
}

/* Under running->lock: the monitor of this kind, started if it is the first use. */
static int running_one(const struct monitor_ops *ops, struct monitor **m)
{
	int rc = 0;

	if (!running->of[ops->kind])
		rc = start(ops, &running->of[ops->kind]);
	*m = running->of[ops->kind];
	return rc;
}

/* AUTO: /dev/pin_track sees more, and sees it earlier; most kernels lack it. */
static int running_for(enum pinmem_monitor kind, struct monitor **m)
{
	if (kind == PINMEM_MONITOR_PIN_TRACK)
		return running_one(&monitor_pin_track, m);
	if (kind == PINMEM_MONITOR_AUTO && !running_one(&monitor_pin_track, m))
		return 0;
	return running_one(&monitor_uffd, m);
}

int monitor_open(enum pinmem_monitor kind, struct monitor_listener *l,
		 struct monitor **m, enum pinmem_monitor *got)
{
	int rc;

	if ((unsigned int)kind >= PINMEM_MONITOR_CALLER)
		return fail(EINVAL, "%s is not a monitor",
			    kind == PINMEM_MONITOR_CALLER ? "the caller" : "this");
	pthread_once(&once, make_running);
	if (!running)
		return fail(ENOMEM, "no memory for a monitor");
	pthread_mutex_lock(&running->lock);
	rc = running_for(kind, m);
	if (!rc) {
		(*m)->users++;
		attach(*m, l);
		*got = (*m)->ops->kind;
	}
	pthread_mutex_unlock(&running->lock);
	return rc;
}

void monitor_close(struct monitor *m, struct monitor_listener *l)
{
	if (!ours(m))
		return;
	detach(m, l);
	pthread_mutex_lock(&running->lock);
	if (!--m->users) {
		running->of[m->ops->kind] = NULL;
		stop(m);
	}
	pthread_mutex_unlock(&running->lock);
}

const uint32_t *monitor_gate(const struct monitor *m)
{
	return &m->gate;
}

int monitor_settle(struct monitor *m)
{
	if (__atomic_load_n(&m->gate, __ATOMIC_ACQUIRE) == MONITOR_GATE_OPEN)
		return 0;
	if (!ours(m))
		return fail(ECHILD, "the monitor belongs to the parent process");
	pthread_mutex_lock(&m->events);
	pthread_mutex_unlock(&m->events);
	return 0;
}

bool monitor_has_words(const struct monitor *m)
{
	return m->ops->words;
}

int monitor_confirm(struct monitor *m)
{
	const struct timespec moment = { .tv_nsec = MOMENT_NS };

	if (!ours(m))
		return fail(ECHILD, "the monitor belongs to the parent process");
	if (m->ops->words)
		return 0;
	for (int i = 0; i < PROBES; i++) {
		if (!m->ops->under_way(m->source))
			return monitor_settle(m); /* what was read is told */
		if (i < PATIENT)
			sched_yield();
		else
			nanosleep(&moment, NULL);
	}
	return -EAGAIN;
}

int monitor_watch(struct monitor *m, uintptr_t start, uintptr_t end, struct watch *w)
{
	int rc = monitor_settle(m);

	*w = (struct watch){ 0 };
	return rc ? rc : m->ops->watch(m->source, m, start, end, w);
}

void monitor_unwatch(struct monitor *m, struct watch *w)
{
	if (w->word && ours(m))
		m->ops->unwatch(m->source, w);
	*w = (struct watch){ 0 };
}

void monitor_distrust(struct monitor *m, uintptr_t start, uintptr_t end)
{
	if (ours(m) && m->ops->distrust)
		m->ops->distrust(m->source, start, end);
}
