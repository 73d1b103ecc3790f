/* Random numbers that depend on (seed, sequence, offset) alone: Philox 4x32, 10 rounds. The integers
 * and uniform values are those of the CPU target; normal ones agree to the last places of the
 * elementary functions.
 *
 * A state walks through the outputs of one sequence: each counter value gives four 32-bit words.
 * `offset` counts words. Sequences are 2^64 counter values apart, so they never meet. */
#ifndef TL_RNG_H
#define TL_RNG_H

#include "types.h"

struct tl_rng {
  uint32_t counter[4], key[2], words[4];
  uint32_t used; /* of `words` */
  double spare;  /* second value of the last pair of normal ones */
  int has_spare;
};

TL_INLINE void tl_rng_refill(tl_rng *rng) {
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

TL_INLINE void tl_rng_init(tl_rng *rng, uint64_t seed, uint64_t sequence, uint64_t offset) {
  const uint64_t first = offset / 4;
  rng->counter[0] = (uint32_t)first, rng->counter[1] = (uint32_t)(first >> 32);
  rng->counter[2] = (uint32_t)sequence, rng->counter[3] = (uint32_t)(sequence >> 32);
  rng->key[0] = (uint32_t)seed, rng->key[1] = (uint32_t)(seed >> 32);
  rng->has_spare = 0;
  rng->used = (uint32_t)(offset % 4);
  tl_rng_refill(rng);
}

/* The word is chosen by comparisons: an index that is not constant would put the state in memory. */
TL_INLINE uint32_t tl_rng_rand(tl_rng *rng) {
  if (rng->used == 4) {
    if (++rng->counter[0] == 0)
      if (++rng->counter[1] == 0)
        if (++rng->counter[2] == 0) ++rng->counter[3];
    tl_rng_refill(rng);
    rng->used = 0;
  }
  const uint32_t low = rng->used & 1 ? rng->words[1] : rng->words[0];
  const uint32_t high = rng->used & 1 ? rng->words[3] : rng->words[2];
  return rng->used++ & 2 ? high : low;
}

/* In (0, 1]. */
TL_INLINE float tl_rng_uniform_float32(tl_rng *rng) {
  return __fmaf_rn((float)tl_rng_rand(rng), 0x1p-32f, 0x1p-33f);
}

TL_INLINE double tl_rng_uniform_float64(tl_rng *rng) {
  const uint64_t low = tl_rng_rand(rng), high = tl_rng_rand(rng);
  return (double)((high << 32 | low) >> 11) * 0x1p-53 + 0x1p-54;
}

/* Box and Muller: two uniform values make two independent normal ones. */
TL_INLINE double tl_rng_normal_float64(tl_rng *rng) {
  if (rng->has_spare) {
    rng->has_spare = 0;
    return rng->spare;
  }
  const double u = tl_rng_uniform_float64(rng);
  const double angle = 0x1.921fb54442d18p+2 * tl_rng_uniform_float64(rng);
  const double radius = sqrt(-2.0 * log(u));
  rng->spare = radius * sin(angle);
  rng->has_spare = 1;
  return radius * cos(angle);
}

TL_INLINE float tl_rng_normal_float32(tl_rng *rng) { return (float)tl_rng_normal_float64(rng); }

#endif
