/* Integer operations without an operator, and bit casts of 4-bit values, in the C that a CUDA compiler
 * takes too. `types.h` is the target's.
 *
 *   tl_min_T(a, b)  tl_max_T(a, b)   T in int8..int64, uint8..uint64
 *   tl_abs_T(x)                      T in int8..int64; the smallest value stays as it is
 *   tl_fns(mask, base, offset)       offset-th one bit of a mask from bit base on; all ones: none
 *   tl_wrap_int4(x)  tl_wrap_uint4(x)
 *   tl_round_random(x, bits, drop)   float32 without its low `drop` mantissa bits, rounded up with
 *                                    the probability that they stand for */
#ifndef TL_SCALAR_INTEGER_H
#define TL_SCALAR_INTEGER_H

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

TL_INLINE int8_t tl_wrap_int4(int32_t x) { return (int8_t)((int8_t)((uint32_t)x << 4) >> 4); }
TL_INLINE uint8_t tl_wrap_uint4(int32_t x) { return (uint8_t)(x & 0xf); }

TL_INLINE float tl_round_random(float x, uint32_t bits, int drop) {
  const uint32_t u = tl_float32_to_bits(x), mask = (1u << drop) - 1;
  return tl_bits_to_float32((u & 0x7f800000u) == 0x7f800000u ? u : (u + (bits & mask)) & ~mask);
}

#endif
