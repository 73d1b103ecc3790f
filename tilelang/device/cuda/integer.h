/* Integer operations without an operator, and bit casts of 4-bit values.
 *
 *   those of ../scalar/integer.h, and:
 *   tl_ffs_T(x)                      T in uint32, uint64: lowest one bit from 1, 0 for 0
 *   tl_dp4a_int32(a, b, c)  tl_dp4a_uint32     c + the product of 4 bytes each
 *   tl_nan_above(x, limit)           float32: NaN where |x| > limit
 * Compiles alone. */
#ifndef TL_INTEGER_H
#define TL_INTEGER_H

#include "types.h"

#include "../scalar/integer.h"

TL_INLINE int32_t tl_ffs_uint32(uint32_t x) { return __ffs((int)x); }
TL_INLINE int32_t tl_ffs_uint64(uint64_t x) { return __ffsll((long long)x); }

TL_INLINE int32_t tl_dp4a_int32(int32_t a, int32_t b, int32_t c) { return __dp4a(a, b, c); }
TL_INLINE uint32_t tl_dp4a_uint32(uint32_t a, uint32_t b, uint32_t c) { return __dp4a(a, b, c); }

TL_INLINE float tl_nan_above(float x, float limit) {
  return fabsf(x) > limit ? __builtin_nanf("") : x;
}

#endif
