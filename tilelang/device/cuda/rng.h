/* Random numbers that depend on (seed, sequence, offset) alone: Philox 4x32, 10 rounds. The integers
 * and uniform values are those of the CPU target; normal ones agree to the last places of the
 * elementary functions. */
#ifndef TL_RNG_H
#define TL_RNG_H

#include "types.h"

#include "../scalar/philox.h"

TL_INLINE void tl_rng_refill(tl_rng *rng) { tl_rng_philox(rng); }

TL_INLINE void tl_rng_init(tl_rng *rng, uint64_t seed, uint64_t sequence, uint64_t offset) {
  tl_rng_seek(rng, seed, sequence, offset);
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
