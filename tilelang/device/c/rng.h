/* Random numbers that depend on (seed, sequence, offset) alone: Philox 4x32, 10 rounds. */
#ifndef TL_RNG_H
#define TL_RNG_H

#include "types.h"

#include "../scalar/philox.h"

static __attribute__((noinline, unused)) void tl_rng_refill(tl_rng *rng) { tl_rng_philox(rng); }

TL_INLINE void tl_rng_init(tl_rng *rng, uint64_t seed, uint64_t sequence, uint64_t offset) {
  tl_rng_seek(rng, seed, sequence, offset);
  tl_rng_refill(rng);
}

TL_INLINE uint32_t tl_rng_rand(tl_rng *rng) {
  if (rng->used == 4) {
    for (int i = 0; i < 4 && ++rng->counter[i] == 0; i++) {
    }
    tl_rng_refill(rng);
    rng->used = 0;
  }
  return rng->words[rng->used++];
}

/* In (0, 1]. */
TL_INLINE float tl_rng_uniform_float32(tl_rng *rng) {
  return (float)tl_rng_rand(rng) * 0x1p-32f + 0x1p-33f;
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
  const double u = tl_rng_uniform_float64(rng), angle = 0x1.921fb54442d18p+2 * tl_rng_uniform_float64(rng);
  const double radius = __builtin_sqrt(-2.0 * __builtin_log(u));
  rng->spare = radius * __builtin_sin(angle);
  rng->has_spare = 1;
  return radius * __builtin_cos(angle);
}

TL_INLINE float tl_rng_normal_float32(tl_rng *rng) { return (float)tl_rng_normal_float64(rng); }

#endif
