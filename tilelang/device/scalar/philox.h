/* The state of `rng.h` and the rounds of Philox 4x32-10, in the C that a CUDA compiler takes too.
 * `types.h` is the target's.
 *
 * A state walks through the outputs of one sequence: each counter value gives four 32-bit words.
 * `offset` counts words. Sequences are 2^64 counter values apart, so they never meet. */
#ifndef TL_SCALAR_PHILOX_H
#define TL_SCALAR_PHILOX_H

#include "types.h"

typedef struct tl_rng {
  uint32_t counter[4], key[2], words[4];
  uint32_t used; /* of `words` */
  double spare;  /* second value of the last pair of normal ones */
  int has_spare;
} tl_rng;

/* The words of the counter's value. */
TL_INLINE void tl_rng_philox(tl_rng *rng) {
  uint32_t a = rng->counter[0], b = rng->counter[1], c = rng->counter[2], d = rng->counter[3];
  uint32_t k0 = rng->key[0], k1 = rng->key[1];
  for (int round = 0; round < 10; round++, k0 += 0x9e3779b9u, k1 += 0xbb67ae85u) {
    const uint64_t p = (uint64_t)0xd2511f53u * a, q = (uint64_t)0xcd9e8d57u * c;
    a = (uint32_t)(q >> 32) ^ b ^ k0;
    b = (uint32_t)q;
    c = (uint32_t)(p >> 32) ^ d ^ k1;
    d = (uint32_t)p;
  }
  rng->words[0] = a, rng->words[1] = b, rng->words[2] = c, rng->words[3] = d;
}

/* The counter and key where (seed, sequence, offset) begins; `words` are not filled. */
TL_INLINE void tl_rng_seek(tl_rng *rng, uint64_t seed, uint64_t sequence, uint64_t offset) {
  const uint64_t first = offset / 4;
  rng->counter[0] = (uint32_t)first, rng->counter[1] = (uint32_t)(first >> 32);
  rng->counter[2] = (uint32_t)sequence, rng->counter[3] = (uint32_t)(sequence >> 32);
  rng->key[0] = (uint32_t)seed, rng->key[1] = (uint32_t)(seed >> 32);
  rng->has_spare = 0;
  rng->used = (uint32_t)(offset % 4);
}

#endif
