/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_cache.c - libFuzzer on the cache: bytes as operations, against the oracle of
 * cache_model.inc.c. Built and run by tests/fuzz/run.
 */
#include <stdlib.h>

#include "cache_model.inc.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (model_run(data, n))
		abort();
	return 0;
}
