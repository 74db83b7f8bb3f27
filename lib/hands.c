/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hands.c - the threads' tallies: how they come and go; see hands.h.
 *
 * A hand is tied to its cache and to its thread. Whoever lets go last frees it: a cache
 * may be destroyed while threads live, and threads end while caches live, and neither
 * can look at the other's memory after that. No lock is needed, so none can be held
 * while somebody forks.
 */
#include "hands.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define HAND_OF_CACHE 1u
#define HAND_OF_THREAD 2u

__thread struct hand_memo hand_memo;
static __thread struct hand *own_hands; /* of all caches */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t at_exit_key;
static bool have_key, have_membarrier;
static uint32_t no_page = 1;
uint32_t *hands_ended_word = &no_page;
static uint64_t last_id;

static void hand_let_go(struct hand *hand, uint32_t tie)
{
	if (__atomic_and_fetch(&hand->ties, ~tie, __ATOMIC_ACQ_REL))
		return;
	free(hand);
}

/* A thread ends. Its memo is emptied: destructors of other keys may still come. */
static void thread_ends(void *arg)
{
	struct hand *hand = own_hands, *next;

	(void)arg;
	own_hands = NULL;
	hand_memo = (struct hand_memo){ .hands_id = 0 };
	for (; hand; hand = next) {
		next = hand->of_thread;
		hand_let_go(hand, HAND_OF_THREAD);
	}
}

static void init_once(void)
{
	have_key = !pthread_key_create(&at_exit_key, thread_ends);
	have_membarrier = !syscall(SYS_membarrier,
				   MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
	if (process_word())
		hands_ended_word = process_word();
}

/* Numbers that this process never had, nor its parent; not 0. */
static void count_end(void)
{
	uint32_t *word = process_word(), none = 0;

	if (word && __atomic_compare_exchange_n(
			    word, &none, (uint32_t)process_generation() << 20 | 1,
			    false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		return;
	__atomic_add_fetch(word ? word : &no_page, 1, __ATOMIC_RELAXED);
}

int hands_init(struct hands *h, uint64_t numbers)
{
	pthread_once(&once, init_once);
	count_end(); /* of the parent's, in a forked child's first call */
	*h = (struct hands){ .numbers = numbers, .unfenced = have_membarrier };
	h->id = __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED);
	if (!have_key)
		return fail(EAGAIN, "no pthread key is left (PTHREAD_KEYS_MAX)");
	return 0;
}

void hands_fini(struct hands *h)
{
	struct hand *hand = h->first, *next;

	count_end();
	for (; hand; hand = next) {
		next = hand->next;
		munmap(hand->tallies, hand->bytes);
		hand_let_go(hand, HAND_OF_CACHE);
	}
	h->first = NULL;
}

static struct hand *hand_new(const struct hands *h)
{
	struct hand *hand = calloc(1, sizeof(*hand));
	void *tallies;

	if (!hand) {
		fail(ENOMEM, "no memory for a thread's tallies");
		return NULL;
	}
	hand->bytes = page_ceil(h->numbers * sizeof(*hand->tallies));
	tallies = mmap(NULL, hand->bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (tallies == MAP_FAILED) {
		fail(ENOMEM, "no memory for %zu bytes of a thread's tallies",
		     hand->bytes);
		free(hand);
		return NULL;
	}
	madvise(tallies, hand->bytes, MADV_HUGEPAGE); /* a wish: fewer TLB misses */
	hand->tallies = tallies;
	hand->hands_id = h->id;
	hand->ties = HAND_OF_CACHE | HAND_OF_THREAD;
	return hand;
}

/* One that a thread has left behind; its tallies go on counting. */
static struct hand *hand_inherit(const struct hands *h)
{
	for (struct hand *hand = __atomic_load_n(&h->first, __ATOMIC_ACQUIRE); hand;
	     hand = hand->next) {
		uint32_t ties = HAND_OF_CACHE;

		if (__atomic_compare_exchange_n(&hand->ties, &ties,
						HAND_OF_CACHE | HAND_OF_THREAD, false,
						__ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			return hand;
	}
	return NULL;
}

static void hand_push(struct hands *h, struct hand *hand)
{
	hand->next = __atomic_load_n(&h->first, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&h->first, &hand->next, hand, false,
					    __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
}

/* Hands of caches that are gone, too: the thread is their last tie. */
static struct hand *find_own(const struct hands *h)
{
	struct hand **at = &own_hands, *hand;

	while ((hand = *at)) {
		if (hand->hands_id == h->id)
			return hand;
		if (__atomic_load_n(&hand->ties, __ATOMIC_ACQUIRE) == HAND_OF_THREAD) {
			*at = hand->of_thread;
			free(hand);
			continue;
		}
		at = &hand->of_thread;
	}
	return NULL;
}

struct hand *hand_take(struct hands *h)
{
	struct hand *hand = find_own(h);

	if (!hand) {
		hand = hand_inherit(h);
		if (!hand) {
			hand = hand_new(h);
			if (!hand)
				return NULL;
			hand_push(h, hand);
		}
		hand->of_thread = own_hands;
		own_hands = hand;
		/* any value: it is the destructor that is wanted */
		pthread_setspecific(at_exit_key, &own_hands);
	}
	if (hand_memo.hands_id != h->id)
		hand_memo = (struct hand_memo){ .hands_id = h->id,
						.tallies = hand->tallies,
						.hands = h };
	return hand;
}

void hands_barrier(const struct hands *h)
{
	if (h->unfenced)
		syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

/* The puts first: a hold that is handed on in between then counts twice, not never. */
struct tally hands_sum(const struct hands *h, uint32_t id)
{
	const struct hand *first = __atomic_load_n(&h->first, __ATOMIC_ACQUIRE);
	struct tally sum = { 0, 0 };

	for (const struct hand *hand = first; hand; hand = hand->next)
		sum.puts += __atomic_load_n(&hand->tallies[id].puts, __ATOMIC_ACQUIRE);
	for (const struct hand *hand = first; hand; hand = hand->next)
		sum.gets += __atomic_load_n(&hand->tallies[id].gets, __ATOMIC_ACQUIRE);
	return sum;
}

uint64_t hands_bytes(const struct hands *h, uint64_t numbers)
{
	uint64_t bytes = 0;

	for (const struct hand *hand = __atomic_load_n(&h->first, __ATOMIC_ACQUIRE);
	     hand; hand = hand->next)
		bytes += sizeof(*hand) + page_ceil(numbers * sizeof(struct tally));
	return bytes;
}
