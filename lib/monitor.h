/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * monitor.h - what tells the caches that a mapping changed.
 *
 * There is one monitor of a kind in a process; all caches share it. It has two
 * threads:
 *
 *   reader  reads the kernel's events and tells every listener. Whoever changed the
 *           mapping is held by the kernel until its event is read, so the reader must
 *           never unmap, madvise or free anything, nor take a lock under which
 *           somebody else does (libc's allocator has such locks).
 *   reaper  does for the listeners what their `changed` may not: release, free.
 *
 * The gate. It is shut while events are being read and handled, from before the first
 * read() until the last listener was told. The changing system call returns after the
 * read(); so whoever looks at the gate after that call has returned finds it shut, or
 * finds that all listeners know. A lookup is one load of the gate; if it is shut,
 * monitor_settle() waits until the events at hand are handled. The word lies in a page
 * that the kernel gives to a forked child zeroed (MADV_WIPEONFORK): in the child, where
 * the threads are not, the gate is shut for ever, and monitor_settle() says -ECHILD.
 *
 * What the gate cannot show: a call that has changed something and not returned. While
 * one thread's munmap() waits for its event to be read, another's mmap() may be given
 * the addresses; no event will tell of that mmap(). So what was pinned there is kept
 * only after monitor_confirm(), and a hit is right if the changes that made the range
 * what it is have returned, or monitor_confirm() was asked.
 *
 * Words. A source that sees each change before it happens needs no gate: it gives every
 * watch a word that the kernel changes, and whoever registered or looks up compares it
 * (watch_holds()). Its gate is shut in a forked child only; nobody waits for its
 * reader, which merely finds out what to release, and what is said above of calls that
 * have not returned does not concern it.
 *
 * Locks, in this order: monitor's reaper lock, monitor's event lock, the listener's
 * own, or the source's (they never meet). A listener must not call into the monitor
 * from `changed` (it returns what it wants), nor hold its own lock while it calls
 * monitor_watch(), monitor_settle(), monitor_open() or monitor_close().
 *
 * The rooms: monitor.c is gate, threads, listeners, for monitors of any kind. Where the
 * events come from is behind struct monitor_ops: monitor_uffd.c (events, the gate),
 * monitor_pin_track.c (words).
 */
#ifndef PINMEM_MONITOR_H
#define PINMEM_MONITOR_H

#include "internal.h"

/** enum monitor_cause - what happened to a range. */
enum monitor_cause {
	MONITOR_UNMAP,	 /* munmap, MAP_FIXED, brk, mremap onto it */
	MONITOR_REMAP,	 /* mremap away */
	MONITOR_DISCARD, /* MADV_DONTNEED, MADV_FREE, MADV_REMOVE */
	MONITOR_CAUSES
};

#define MONITOR_GATE_SHUT 0u
#define MONITOR_GATE_OPEN 1u

struct monitor;

/**
 * struct watch - what monitor_watch() gives. All zero: there is nothing to compare, the
 * gate tells.
 * @word: atomic; the kernel's. It is mapped until monitor_close().
 * @generation: of the word, as long as nothing has changed
 * @id: the source's
 */
struct watch {
	const uint64_t *word;
	uint64_t generation;
	uint64_t id;
};

/** watch_holds - has nothing changed since monitor_watch()? One load, or none. */
static inline bool watch_holds(const struct watch *w)
{
	return !w->word || __atomic_load_n(w->word, __ATOMIC_ACQUIRE) == w->generation;
}

/**
 * struct monitor_listener - a cache, seen from the monitor.
 * @changed: on the reader thread: [start, end), page aligned, no longer is what it was.
 *           Marks only. Return: true if `reap` should be called soon.
 * @look:    in its place where there are words: some of them have changed
 * @reap:    on the reaper thread, some time after; may release, free and block
 * @next, @due: the monitor's
 */
struct monitor_listener {
	bool (*changed)(struct monitor_listener *l, uintptr_t start, uintptr_t end,
			enum monitor_cause cause);
	bool (*look)(struct monitor_listener *l);
	void (*reap)(struct monitor_listener *l);
	struct monitor_listener *next;
	uint32_t due; /* the monitor's: reap is wanted */
};

/**
 * monitor_open - join the monitor of this kind; the first one starts it.
 * @kind: AUTO: the best that works here
 * @m:    out
 * @got:  out: the kind
 * Return: 0; -EOPNOTSUPP with why not and what helps; -EINVAL: no monitor (CALLER);
 * -ENOMEM, -EMFILE, -EAGAIN (no thread).
 */
int monitor_open(enum pinmem_monitor kind, struct monitor_listener *l,
		 struct monitor **m, enum pinmem_monitor *got);

/** monitor_close - leave it: no call of @l is under way or comes after this returns.
 * The last one ends the watching and stops the threads. Not from @l's own `changed` or
 * `reap`. In a forked child: nothing; the parent's monitor is left to the parent. */
void monitor_close(struct monitor *m, struct monitor_listener *l);

/** monitor_gate - the word that lookups look at; valid until monitor_close(). */
const uint32_t *monitor_gate(const struct monitor *m);

/** monitor_has_words - do watches have words? Then it sees what happens to files, too.
 */
bool monitor_has_words(const struct monitor *m);

/** monitor_settle - wait until every event that was read is handled.
 * Return: 0; -ECHILD in a forked child. Waits for listeners' `changed` only. */
int monitor_settle(struct monitor *m);

/** monitor_poke - have @l's `reap` called soon. From any thread; takes no lock that
 * is held while anything is unmapped or pinned. */
void monitor_poke(struct monitor *m, struct monitor_listener *l);

/**
 * monitor_watch - have the changes of a range told from now on.
 * @w: out; for monitor_unwatch(); on failure all zero
 * Called before the range is pinned, when whatever `changed` tells of it will be
 * heeded. userfaultfd watches the mappings that it lies in whole: no mapping is split,
 * and the next region in them costs no system call. Return: 0; no sentence is written
 * for what only means "not to be cached":
 *   -EBUSY   another userfaultfd has (a part of) it
 *   -ENOMEM  vm.max_map_count or memory
 *   -ENOSPC  the kernel's limit of watches
 *   -EFAULT  not mapped, or the mappings change all the time
 *   -EINVAL  a kind of memory that cannot be watched
 *   -EAGAIN  a MADV_DONTNEED (FREE, REMOVE) of it was told, but may not have taken the
 *            pages yet: what is pinned now may be stale right after. Soon it is over.
 *   -ECHILD  in a forked child
 */
int monitor_watch(struct monitor *m, uintptr_t start, uintptr_t end, struct watch *w);

/** monitor_unwatch - the range is not of interest any more. Any @w; it becomes zero. */
void monitor_unwatch(struct monitor *m, struct watch *w);

/**
 * monitor_confirm - have all changes made up to now been told?
 * Asks the kernel (an ioctl), and waits a little if some are under way. With words
 * there is nothing to ask: see watch_holds().
 * Return: 0; -EAGAIN: some still are; -ECHILD.
 */
int monitor_confirm(struct monitor *m);

/** monitor_distrust - the caller knows of a change that is not told (shmat(SHM_REMAP),
 * remap_file_pages(2)): the next monitor_watch() of the range looks anew. */
void monitor_distrust(struct monitor *m, uintptr_t start, uintptr_t end);

/* ------------------------------------------------- between monitor.c and a source */

struct monitor_source; /* the source's own */

/**
 * struct monitor_ops - where events come from.
 * @words: see struct watch. Else the gate is shut while @take runs
 * @open:  out: a source, and a descriptor that polls readable when there are events
 * @take:  on the reader: read all that is there and monitor_tell() it, or
 *         monitor_look(). Return: false: there will never be more
 * @under_way: was something changed that @take has not read yet? Any thread; NULL
 *         with words
 * @watch: see monitor_watch(); any thread
 * @unwatch: see monitor_unwatch(); any thread; NULL without words
 * @distrust: see monitor_distrust(); any thread; may be NULL
 * @end:   watch nothing any more; the reader still runs. After it no event comes.
 * @close: the reader is gone
 */
struct monitor_ops {
	enum pinmem_monitor kind;
	bool words;
	int (*open)(struct monitor_source **s, int *fd);
	bool (*take)(struct monitor_source *s, struct monitor *m);
	bool (*under_way)(struct monitor_source *s);
	int (*watch)(struct monitor_source *s, struct monitor *m, uintptr_t start,
		     uintptr_t end, struct watch *w);
	void (*unwatch)(struct monitor_source *s, struct watch *w);
	void (*distrust)(struct monitor_source *s, uintptr_t start, uintptr_t end);
	void (*end)(struct monitor_source *s, struct monitor *m);
	void (*close)(struct monitor_source *s);
};

extern const struct monitor_ops monitor_uffd;
extern const struct monitor_ops monitor_pin_track;

/** monitor_tell - a source's event, to all listeners. Within @take only. */
void monitor_tell(struct monitor *m, uintptr_t start, uintptr_t end,
		  enum monitor_cause cause);
/** monitor_look - words have changed: have all listeners look. Within @take only. */
void monitor_look(struct monitor *m);

#endif
