/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hands.h - who holds what: reference counts that threads do not share.
 *
 * A cache's regions have numbers. Every thread that uses the cache has a hand: for each
 * number a tally of the gets and of the puts that the thread has made, which nobody
 * else writes. A region may be put by another thread than the one that got it; only the
 * sums over all hands mean something (as with the kernel's percpu_ref): gets less puts
 * are the holders. Tallies are never reset: a number that is given to another region
 * goes on counting. A thread that ends leaves its hand to the next one that comes.
 *
 * A tally is raised by a plain store (gets and puts apart, so that a put does not wait
 * for the store of its get). hands_barrier() makes what all threads have stored
 * visible: membarrier(2), PRIVATE_EXPEDITED, Linux 4.14. Where that is not to be had (a
 * seccomp filter), `unfenced` is false, and the tallies are raised under the cache's
 * lock.
 */
#ifndef PINMEM_HANDS_H
#define PINMEM_HANDS_H

#include "internal.h"

struct entry;

/** struct tally - of one number, by one thread. */
struct tally {
	uint64_t gets, puts; /* atomic */
};

struct hand {
	struct tally *tallies;
	struct hand *next;	/* in hands.first; set once */
	struct hand *of_thread; /* the thread's list */
	uint64_t hands_id;	/* whose it is: never used again */
	size_t bytes;		/* of tallies */
	uint32_t ties;		/* atomic: HAND_OF_* */
};

struct hands {
	uint64_t id;
	uint64_t numbers;   /* tallies in a hand */
	struct hand *first; /* atomic; they only come, until hands_fini() */
	bool unfenced;	    /* membarrier is there: see above */
};

/**
 * struct hand_memo - the hand that the thread used last, and the region that it got
 * last with it: a put of that one need read neither the region nor the cache. 64 bytes
 * of the loader's reserve for initial-exec variables, which are reached without a call.
 * @mr:    NULL: none, or of another hand
 * @ended: hands_ended() when it was got: no cache has been freed since, or the rest may
 *         point into one
 */
struct hand_memo {
	uint64_t hands_id;
	struct tally *tallies;
	struct hands *hands;
	struct pinmem_mr *mr;
	struct entry *entry;
	struct tally *tally;
	uint32_t ended;
};
extern __thread struct hand_memo hand_memo __attribute__((tls_model("initial-exec")));

/* In a page that a forked child finds zeroed: there, too, the memos are not good. */
extern uint32_t *hands_ended_word;

static inline uint32_t hands_ended(void)
{
	return __atomic_load_n(hands_ended_word, __ATOMIC_RELAXED);
}

int hands_init(struct hands *h, uint64_t numbers);
/** hands_fini - nobody may be using it. In a forked child, too. */
void hands_fini(struct hands *h);
/** hand_take - this thread's hand, made or inherited; NULL with a sentence. */
struct hand *hand_take(struct hands *h);
/** hands_barrier - after it, hands_sum() misses nothing that was counted before it. */
void hands_barrier(const struct hands *h);
/** hands_sum - of one number; exact if nobody counts, else about now. */
struct tally hands_sum(const struct hands *h, uint32_t id);
/** hands_bytes - memory, if all of these numbers are used */
uint64_t hands_bytes(const struct hands *h, uint64_t numbers);

static inline uint64_t tally_holders(struct tally t)
{
	return t.gets - t.puts;
}

/**
 * tally_add - count; what the caller loads after it is loaded after it, as seen by
 * whoever calls hands_barrier() in between.
 */
static inline void tally_add(uint64_t *count, uint64_t n)
{
	__atomic_store_n(count, __atomic_load_n(count, __ATOMIC_RELAXED) + n,
			 __ATOMIC_RELEASE);
	__atomic_signal_fence(__ATOMIC_SEQ_CST); /* the compiler's order; see above */
}

#endif
