/* Integer operations without a C operator, and bit casts of 4-bit values: what generated text calls.
 *
 *   those of ../scalar/integer.h, and:
 *   tl_ffs_T(x)                      T in uint32, uint64: lowest one bit from 1, 0 for 0
 *   tl_nan_above(x, limit)           float32: NaN where |x| > limit */
#ifndef TL_INTEGER_H
#define TL_INTEGER_H

#include "types.h"

#include "../scalar/integer.h"

TL_INLINE int32_t tl_ffs_uint32(uint32_t x) { return __builtin_ffs((int)x); }
TL_INLINE int32_t tl_ffs_uint64(uint64_t x) { return __builtin_ffsll((long long)x); }

TL_INLINE float tl_nan_above(float x, float limit) {
  return __builtin_fabsf(x) > limit ? __builtin_nanf("") : x;
}

#endif
