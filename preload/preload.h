/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * preload.h - the rooms of libpinmem-verbs.so, and the doors between them.
 *
 *	exports.c ──> preload.c ──> domains.c ──> pinmem_open()
 *	                 |────────> keep.c ─────> pinmem_reg(), s3fifo.h, monitor.h
 *	                 └────────> settings.c    the environment, the log
 *
 * The library's objects are in libpinmem-verbs.so itself, hidden; what they call of
 * libibverbs to register comes back through exports.c, which sees that the call is
 * from inside and passes it on.
 *
 * A program's errno is left as it is where a call succeeds.
 */
#ifndef PINMEM_PRELOAD_H
#define PINMEM_PRELOAD_H

#include <infiniband/verbs.h>

#include "internal.h"

#undef ibv_reg_mr /* macros, for programs */
#undef ibv_reg_mr_iova

/* -------------------------------------------------------------- exports.c */

/**
 * struct verbs_calls - libibverbs' own. Its ibv_reg_mr() and ibv_reg_mr_iova() call
 * ibv_reg_mr_iova2() through its PLT, and so would come back to us; they do no more.
 */
struct verbs_calls {
	struct ibv_mr *(*reg_mr)(struct ibv_pd *pd, void *addr, size_t len,
				 uint64_t iova, unsigned int access);
	int (*rereg_mr)(struct ibv_mr *mr, int flags, struct ibv_pd *pd, void *addr,
			size_t len, int access);
	int (*dereg_mr)(struct ibv_mr *mr);
	int (*dealloc_pd)(struct ibv_pd *pd);
	void (*unimport_pd)(struct ibv_pd *pd);
	int (*close_device)(struct ibv_context *context);
};
const struct verbs_calls *real_verbs(void);

/* More than 0: this thread is in the library, and its verbs calls are not the
 * program's. */
extern __thread unsigned int preload_inside
	__attribute__((tls_model("initial-exec"), visibility("hidden")));

/* ------------------------------------------------------------- settings.c */

enum log_level { LOG_OFF, LOG_REFUSED, LOG_ALL };

/** struct settings - what the environment says; see preload.c. */
struct settings {
	bool odp;   /* policy: ODP, or refuse */
	bool cache; /* keep registrations */
	enum log_level log;
	uint64_t bytes, regions; /* limits of what is kept */
};

/** settings_read - complains of bad values, one line each, and takes the default. */
void settings_read(struct settings *s);
/** log_line - one line to stderr, by one write(2). */
void log_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* -------------------------------------------------------------- domains.c */

/** struct domain - a protection domain of the program's, and the pinner in it. Never
 * freed: a place for the next one. */
struct domain {
	struct ibv_pd *pd; /* atomic; NULL: the place is free */
	struct ibv_context *context;
	struct pinmem *pm;
	uint64_t longest;	/* bytes of one registration */
	unsigned int releasing; /* keep's lock: its registrations under way out */
	struct domain *next;
};

#define DOMAIN_HIDDEN ((struct ibv_pd *)-1)

#define DOMAIN_BUCKETS 64
struct domains {
	struct domain *buckets[DOMAIN_BUCKETS]; /* atomic; they only come */
	pthread_mutex_t lock;			/* whoever adds or empties a place */
};

/** domain_find - without a lock; NULL: there is none */
struct domain *domain_find(struct domains *all, const struct ibv_pd *pd);
/** domain_get - the same, or makes one; NULL with pinmem_errmsg() */
struct domain *domain_get(struct domains *all, struct ibv_pd *pd, bool odp);
/** domain_next_of - some domain of a device's context; NULL: there is none */
struct domain *domain_next_of(struct domains *all, const struct ibv_context *context);
/** domain_hide, domain_show - while libibverbs is asked to end it: it may give the same
 * address to the next one before it returns. */
void domain_hide(struct domains *all, struct domain *d);
void domain_show(struct domains *all, struct domain *d, struct ibv_pd *pd);
/** domain_end - of a hidden one: the place is free again. With registrations of the
 * program's left it stays hidden, as libibverbs' own memory of them stays. */
void domain_end(struct domains *all, struct domain *d);

/* ----------------------------------------------------------------- keep.c */

struct keep;

/** struct range - what a program asks to register, in verbs' words. */
struct range {
	struct domain *domain;
	void *addr;
	size_t len;
	unsigned int access;
};

/** access_of_verbs - verbs' flags as PINMEM_ACCESS_*. Return: those left over. */
unsigned int access_of_verbs(unsigned int verbs, unsigned int *ours);

/** keep_new - NULL without memory. A monitor that is not to be had: a line, and
 * s->cache is false. */
struct keep *keep_new(struct settings *s);
/**
 * keep_get - a registration of exactly this range, nobody else's: one that was kept
 * and whose mapping has not changed since, or a new one.
 * Return: 0, or what pinmem_reg() says. @hit: out: it was kept
 */
int keep_get(struct keep *k, const struct range *r, struct ibv_mr **mr, bool *hit);
/**
 * keep_put - the program is done with a registration.
 * @rc: out: what its ibv_dereg_mr() is to return. Return: false: it is none of ours.
 */
bool keep_put(struct keep *k, struct ibv_mr *mr, int *rc);
/** keep_spoil - the registration is about to become another: not to be kept. */
void keep_spoil(struct keep *k, const struct ibv_mr *mr);
/** keep_before_fork - what the program has now is not to be kept later. */
void keep_before_fork(struct keep *k);
/** keep_release - release what is kept of a domain's (NULL: of all), and wait for the
 * releases that are under way. Return: was anything released? */
bool keep_release(struct keep *k, struct domain *d);
/** keep_forget - what the program still has of a domain's is not ours any more. */
void keep_forget(struct keep *k, const struct domain *d);

/* -------------------------------------------------------------- preload.c */

struct ibv_mr *preload_reg(const char *call, struct ibv_pd *pd, void *addr, size_t len,
			   uint64_t iova, unsigned int access);
int preload_rereg(struct ibv_mr *mr, int flags, struct ibv_pd *pd, void *addr,
		  size_t len, int access);
int preload_dereg(struct ibv_mr *mr);
int preload_dealloc_pd(struct ibv_pd *pd);
void preload_unimport_pd(struct ibv_pd *pd);
int preload_close_device(struct ibv_context *context);

#endif
