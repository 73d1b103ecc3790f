/* Two or four small values in one register: the functions of the CUDA header of the same name. Each
 * half is computed in float32, which rounds to the same 16-bit value; fma rounds to odd on the way. */
#ifndef TL_PACKED_H
#define TL_PACKED_H

#include "types.h"

TL_INLINE uint32_t tl_pack_b16(uint16_t lo, uint16_t hi) { return lo | (uint32_t)hi << 16; }

TL_INLINE uint32_t tl_prmt(uint32_t a, uint32_t b, uint32_t selector) {
  const uint64_t bytes = a | (uint64_t)b << 32;
  uint32_t d = 0;
  for (int i = 0; i < 4; i++) {
    const uint32_t choice = selector >> (4 * i), byte = bytes >> (8 * (choice & 7)) & 0xff;
    const uint32_t sign = byte & 0x80 ? 0xff : 0; /* bit 3: the byte's sign, eight times */
    d |= (choice & 8 ? sign : byte) << (8 * i);
  }
  return d;
}

template <int TABLE>
TL_INLINE uint32_t tl_lop3(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d = 0;
  for (int i = 0; i < 8; i++)
    if (TABLE >> i & 1) d |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
  return d;
}

/* ---- conversions ----------------------------------------------------------------------------- */

#define TL_DEFINE_PAIR(T)                                                                     \
  TL_INLINE uint32_t tl_float32x2_to_##T##x2(float lo, float hi) {                            \
    return tl_pack_b16(tl_float32_to_##T(lo), tl_float32_to_##T(hi));                         \
  }                                                                                           \
  TL_INLINE void tl_##T##x2_to_float32x2(float *d, uint32_t x) {                              \
    d[0] = tl_##T##_to_float32((uint16_t)x);                                                  \
    d[1] = tl_##T##_to_float32((uint16_t)(x >> 16));                                          \
  }
TL_DEFINE_PAIR(float16)
TL_DEFINE_PAIR(bfloat16)

#define TL_DEFINE_FLOAT8X2(name)                                                               \
  TL_INLINE uint16_t tl_float32x2_to_##name##x2(float lo, float hi) {                          \
    return (uint16_t)(tl_float32_to_##name(lo) | tl_float32_to_##name(hi) << 8);               \
  }                                                                                            \
  TL_INLINE uint16_t tl_float16x2_to_##name##x2(uint32_t x) {                                  \
    float pair[2];                                                                             \
    tl_float16x2_to_float32x2(pair, x);                                                        \
    return tl_float32x2_to_##name##x2(pair[0], pair[1]);                                       \
  }                                                                                            \
  TL_INLINE uint32_t tl_##name##x2_to_float16x2(uint16_t x) {                                  \
    return tl_float32x2_to_float16x2(tl_##name##_to_float32((uint8_t)x),                       \
                                     tl_##name##_to_float32((uint8_t)(x >> 8)));               \
  }                                                                                            \
  TL_INLINE void tl_##name##x2_to_float32x2(float *d, uint16_t x) {                            \
    tl_float16x2_to_float32x2(d, tl_##name##x2_to_float16x2(x));                               \
  }
TL_DEFINE_FLOAT8X2(float8_e4m3)
TL_DEFINE_FLOAT8X2(float8_e4m3fn)
TL_DEFINE_FLOAT8X2(float8_e5m2)

/* ---- arithmetic ------------------------------------------------------------------------------ */

#define TL_HALVES_2(name, T, expression)                                         \
  TL_INLINE uint32_t tl_##name##2_##T(uint32_t a, uint32_t b) {                  \
    float x[2], y[2], z[2];                                                      \
    tl_##T##x2_to_float32x2(x, a);                                               \
    tl_##T##x2_to_float32x2(y, b);                                               \
    for (int i = 0; i < 2; i++) z[i] = expression;                               \
    return tl_float32x2_to_##T##x2(z[0], z[1]);                                  \
  }
/* An inexact float32 result gets an odd last bit: it then never lies where the next rounding, to at
 * most 11 bits, would be decided wrongly. */
#define TL_HALVES_FMA(T)                                                                     \
  TL_INLINE uint32_t tl_fma2_##T(uint32_t a, uint32_t b, uint32_t c) {                       \
    float x[2], y[2], z[2], r[2];                                                            \
    tl_##T##x2_to_float32x2(x, a);                                                           \
    tl_##T##x2_to_float32x2(y, b);                                                           \
    tl_##T##x2_to_float32x2(z, c);                                                           \
    for (int i = 0; i < 2; i++) {                                                            \
      r[i] = __fmaf_rz(x[i], y[i], z[i]);                                                    \
      const bool inexact = __fmaf_ru(x[i], y[i], z[i]) != __fmaf_rd(x[i], y[i], z[i]);       \
      if (inexact) r[i] = __uint_as_float(__float_as_uint(r[i]) | 1);                        \
    }                                                                                        \
    return tl_float32x2_to_##T##x2(r[0], r[1]);                                              \
  }
#define TL_HALVES(T)                                  \
  TL_HALVES_2(add, T, x[i] + y[i])                    \
  TL_HALVES_2(sub, T, x[i] - y[i])                    \
  TL_HALVES_2(mul, T, x[i] * y[i])                    \
  TL_HALVES_2(max, T, __builtin_fmaxf(x[i], y[i]))    \
  TL_HALVES_2(min, T, __builtin_fminf(x[i], y[i]))    \
  TL_HALVES_FMA(T)
TL_HALVES(float16)
TL_HALVES(bfloat16)

TL_INLINE uint32_t tl_abs2_float16(uint32_t a) { return a & 0x7fff7fffu; }
TL_INLINE uint32_t tl_abs2_bfloat16(uint32_t a) { return a & 0x7fff7fffu; }
TL_INLINE uint32_t tl_neg2_float16(uint32_t a) { return a ^ 0x80008000u; }
TL_INLINE uint32_t tl_neg2_bfloat16(uint32_t a) { return a ^ 0x80008000u; }

/* ---- 4-bit weights --------------------------------------------------------------------------- */

#define TL_DEFINE_NIBBLES(T)                                                              \
  TL_INLINE uint32_t tl_uint4x8_to_##T##x2(uint32_t q, int i) {                           \
    return tl_float32x2_to_##T##x2((float)(q >> (4 * i) & 0xf),                           \
                                   (float)(q >> (4 * i + 16) & 0xf));                     \
  }                                                                                       \
  TL_INLINE uint32_t tl_int4x8_to_##T##x2(uint32_t q, int i) {                            \
    return tl_float32x2_to_##T##x2((float)((int32_t)(q << (28 - 4 * i)) >> 28),           \
                                   (float)((int32_t)(q << (12 - 4 * i)) >> 28));          \
  }
TL_DEFINE_NIBBLES(float16)
TL_DEFINE_NIBBLES(bfloat16)

#endif
