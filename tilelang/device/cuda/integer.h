/* Integer operations without an operator, and bit casts of 4-bit values.
 *
 *   tl_min_T(a, b)  tl_max_T(a, b)   T in int8..int64, uint8..uint64
 *   tl_abs_T(x)                      T in int8..int64; the smallest value stays as it is
 *   tl_ffs_T(x)                      T in uint32, uint64: lowest one bit from 1, 0 for 0
 *   tl_fns(mask, base, offset)       offset-th one bit of a mask from bit base on; all ones: none
 *   tl_dp4a_int32(a, b, c)  tl_dp4a_uint32     c + the product of 4 bytes each
 *   tl_wrap_int4(x)  tl_wrap_uint4(x)
 *   tl_nan_above(x, limit)           float32: NaN where |x| > limit
 *   tl_round_random(x, bits, drop)   float32 without its low `drop` mantissa bits, rounded up with
 *                                    the probability that they stand for */
#ifndef TL_INTEGER_H
#define TL_INTEGER_H

#include "types.h"

#define TL_DEFINE_MIN_MAX(T)                                                    \
  TL_INLINE T##_t tl_min_##T(T##_t a, T##_t b) { return a < b ? a : b; }        \
  TL_INLINE T##_t tl_max_##T(T##_t a, T##_t b) { return a > b ? a : b; }
#define TL_DEFINE_ABS(T, U)                                                     \
  TL_INLINE T##_t tl_abs_##T(T##_t x) { return (T##_t)(x < 0 ? (U##_t)0 - (U##_t)x : (U##_t)x); }
TL_DEFINE_MIN_MAX(int8)
TL_DEFINE_MIN_MAX(int16)
TL_DEFINE_MIN_MAX(int32)
TL_DEFINE_MIN_MAX(int64)
TL_DEFINE_MIN_MAX(uint8)
TL_DEFINE_MIN_MAX(uint16)
TL_DEFINE_MIN_MAX(uint32)
TL_DEFINE_MIN_MAX(uint64)
TL_DEFINE_ABS(int8, uint8)
TL_DEFINE_ABS(int16, uint16)
TL_DEFINE_ABS(int32, uint32)
TL_DEFINE_ABS(int64, uint64)

TL_INLINE int32_t tl_ffs_uint32(uint32_t x) { return __ffs((int)x); }
TL_INLINE int32_t tl_ffs_uint64(uint64_t x) { return __ffsll((long long)x); }

TL_INLINE uint32_t tl_fns(uint32_t mask, uint32_t base, int32_t offset) {
  const int32_t step = offset < 0 ? -1 : 1;
  int32_t left = offset == 0 ? 1 : offset * step;
  for (int32_t bit = (int32_t)base; bit >= 0 && bit < 32; bit += step) {
    left -= (mask >> bit) & 1;
    if (left == 0) return (uint32_t)bit;
    if (offset == 0) break;
  }
  return 0xffffffffu;
}

TL_INLINE int32_t tl_dp4a_int32(int32_t a, int32_t b, int32_t c) { return __dp4a(a, b, c); }
TL_INLINE uint32_t tl_dp4a_uint32(uint32_t a, uint32_t b, uint32_t c) { return __dp4a(a, b, c); }

TL_INLINE int8_t tl_wrap_int4(int32_t x) { return (int8_t)((int8_t)((uint32_t)x << 4) >> 4); }
TL_INLINE uint8_t tl_wrap_uint4(int32_t x) { return (uint8_t)(x & 0xf); }

TL_INLINE float tl_round_random(float x, uint32_t bits, int drop) {
  const uint32_t u = tl_float32_to_bits(x), mask = (1u << drop) - 1;
  return tl_bits_to_float32((u & 0x7f800000u) == 0x7f800000u ? u : (u + (bits & mask)) & ~mask);
}

TL_INLINE float tl_nan_above(float x, float limit) {
  return fabsf(x) > limit ? __builtin_nanf("") : x;
}

#endif
