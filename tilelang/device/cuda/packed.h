/* Two or four small values in one register: conversions, arithmetic, byte and bit selection.
 *
 * T is float16 or bfloat16; a pair is a uint32_t, the first value in the low half.
 *
 *   tl_float32x2_to_Tx2(lo, hi)   tl_Tx2_to_float32x2(d, x)        d[0], d[1]
 *   tl_float32x2_to_Fx2(lo, hi)   tl_Fx2_to_float32x2(d, x)        F float8_e4m3(fn), float8_e5m2; uint16_t
 *   tl_Fx2_to_float16x2(x)        tl_float16x2_to_Fx2(x)
 *   tl_{add,sub,mul,max,min}2_T(a, b)  tl_fma2_T(a, b, c)  tl_abs2_T(a)  tl_neg2_T(a)
 *   tl_uint4x8_to_Tx2(q, i)  tl_int4x8_to_Tx2(q, i)   nibbles i and i + 4 of q, i = 0..3, as a pair
 *
 * max2 and min2: a NaN loses. Without an instruction (bfloat16 below sm_80; add, sub, mul of
 * bfloat16 below sm_90; max, min below sm_80; float8 below sm_89) each half is computed in float32,
 * with the same result: one operation on 16-bit operands rounds to the same value through float32,
 * but fma2_bfloat16 below sm_80 may round twice. */
#ifndef TL_PACKED_H
#define TL_PACKED_H

#include "types.h"

TL_INLINE uint32_t tl_pack_b16(uint16_t lo, uint16_t hi) { return lo | (uint32_t)hi << 16; }

/* Bytes of a (0..3) and b (4..7) chosen by the nibbles of `selector`. */
TL_INLINE uint32_t tl_prmt(uint32_t a, uint32_t b, uint32_t selector) {
  uint32_t d;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(selector));
  return d;
}

/* Any function of three bits: TABLE is f(0xf0, 0xcc, 0xaa). */
template <int TABLE>
TL_INLINE uint32_t tl_lop3(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d;
  asm("lop3.b32 %0, %1, %2, %3, %4;" : "=r"(d) : "r"(a), "r"(b), "r"(c), "n"(TABLE));
  return d;
}

/* ---- conversions ----------------------------------------------------------------------------- */

TL_INLINE uint32_t tl_float32x2_to_float16x2(float lo, float hi) {
#if __CUDA_ARCH__ >= 800
  uint32_t d; /* the first source goes to the high half */
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(hi), "f"(lo));
  return d;
#else
  return tl_pack_b16(tl_float32_to_float16(lo), tl_float32_to_float16(hi));
#endif
}

TL_INLINE uint32_t tl_float32x2_to_bfloat16x2(float lo, float hi) {
#if __CUDA_ARCH__ >= 800
  uint32_t d;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(hi), "f"(lo));
  return d;
#else
  return tl_pack_b16(tl_float32_to_bfloat16(lo), tl_float32_to_bfloat16(hi));
#endif
}

TL_INLINE void tl_float16x2_to_float32x2(float *d, uint32_t x) {
  d[0] = tl_float16_to_float32((uint16_t)x);
  d[1] = tl_float16_to_float32((uint16_t)(x >> 16));
}

TL_INLINE void tl_bfloat16x2_to_float32x2(float *d, uint32_t x) {
  d[0] = __uint_as_float(x << 16);
  d[1] = __uint_as_float(x & 0xffff0000u);
}

#if __CUDA_ARCH__ >= 890
#define TL_DEFINE_FLOAT8X2(name, ptx)                                                          \
  TL_INLINE uint16_t tl_float32x2_to_##name##x2(float lo, float hi) {                          \
    uint16_t d;                                                                                \
    asm("cvt.rn.satfinite." ptx "x2.f32 %0, %1, %2;" : "=h"(d) : "f"(hi), "f"(lo));            \
    return d;                                                                                  \
  }                                                                                            \
  TL_INLINE uint16_t tl_float16x2_to_##name##x2(uint32_t x) {                                  \
    uint16_t d;                                                                                \
    asm("cvt.rn.satfinite." ptx "x2.f16x2 %0, %1;" : "=h"(d) : "r"(x));                        \
    return d;                                                                                  \
  }                                                                                            \
  TL_INLINE uint32_t tl_##name##x2_to_float16x2(uint16_t x) {                                  \
    uint32_t d;                                                                                \
    asm("cvt.rn.f16x2." ptx "x2 %0, %1;" : "=r"(d) : "h"(x));                                  \
    return d;                                                                                  \
  }
#else
#define TL_DEFINE_FLOAT8X2(name, ptx)                                                          \
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
  }
#endif
TL_DEFINE_FLOAT8X2(float8_e4m3, "e4m3")
TL_DEFINE_FLOAT8X2(float8_e4m3fn, "e4m3")
TL_DEFINE_FLOAT8X2(float8_e5m2, "e5m2")
TL_INLINE void tl_float8_e4m3x2_to_float32x2(float *d, uint16_t x) {
  tl_float16x2_to_float32x2(d, tl_float8_e4m3x2_to_float16x2(x));
}
TL_INLINE void tl_float8_e4m3fnx2_to_float32x2(float *d, uint16_t x) {
  tl_float16x2_to_float32x2(d, tl_float8_e4m3fnx2_to_float16x2(x));
}
TL_INLINE void tl_float8_e5m2x2_to_float32x2(float *d, uint16_t x) {
  tl_float16x2_to_float32x2(d, tl_float8_e5m2x2_to_float16x2(x));
}

/* ---- arithmetic ------------------------------------------------------------------------------ */

#define TL_PACKED_2(name, T, instruction)                                        \
  TL_INLINE uint32_t tl_##name##2_##T(uint32_t a, uint32_t b) {                  \
    uint32_t d;                                                                  \
    asm(instruction " %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));                  \
    return d;                                                                    \
  }
#define TL_PACKED_3(name, T, instruction)                                        \
  TL_INLINE uint32_t tl_##name##2_##T(uint32_t a, uint32_t b, uint32_t c) {      \
    uint32_t d;                                                                  \
    asm(instruction " %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));      \
    return d;                                                                    \
  }
#define TL_HALVES_2(name, T, expression)                                         \
  TL_INLINE uint32_t tl_##name##2_##T(uint32_t a, uint32_t b) {                  \
    float x[2], y[2], z[2];                                                      \
    tl_##T##x2_to_float32x2(x, a);                                               \
    tl_##T##x2_to_float32x2(y, b);                                               \
    for (int i = 0; i < 2; i++) z[i] = expression;                               \
    return tl_float32x2_to_##T##x2(z[0], z[1]);                                  \
  }

TL_PACKED_2(add, float16, "add.rn.f16x2")
TL_PACKED_2(sub, float16, "sub.rn.f16x2")
TL_PACKED_2(mul, float16, "mul.rn.f16x2")
TL_PACKED_3(fma, float16, "fma.rn.f16x2")
#if __CUDA_ARCH__ >= 900
TL_PACKED_2(add, bfloat16, "add.rn.bf16x2")
TL_PACKED_2(sub, bfloat16, "sub.rn.bf16x2")
TL_PACKED_2(mul, bfloat16, "mul.rn.bf16x2")
#else
TL_HALVES_2(add, bfloat16, __fadd_rn(x[i], y[i]))
TL_HALVES_2(sub, bfloat16, __fsub_rn(x[i], y[i]))
TL_HALVES_2(mul, bfloat16, __fmul_rn(x[i], y[i]))
#endif
#if __CUDA_ARCH__ >= 800
TL_PACKED_3(fma, bfloat16, "fma.rn.bf16x2")
TL_PACKED_2(max, float16, "max.f16x2")
TL_PACKED_2(min, float16, "min.f16x2")
TL_PACKED_2(max, bfloat16, "max.bf16x2")
TL_PACKED_2(min, bfloat16, "min.bf16x2")
#else
TL_INLINE uint32_t tl_fma2_bfloat16(uint32_t a, uint32_t b, uint32_t c) {
  float x[2], y[2], z[2];
  tl_bfloat16x2_to_float32x2(x, a);
  tl_bfloat16x2_to_float32x2(y, b);
  tl_bfloat16x2_to_float32x2(z, c);
  return tl_float32x2_to_bfloat16x2(__fmaf_rn(x[0], y[0], z[0]), __fmaf_rn(x[1], y[1], z[1]));
}
TL_HALVES_2(max, float16, fmaxf(x[i], y[i]))
TL_HALVES_2(min, float16, fminf(x[i], y[i]))
TL_HALVES_2(max, bfloat16, fmaxf(x[i], y[i]))
TL_HALVES_2(min, bfloat16, fminf(x[i], y[i]))
#endif

TL_INLINE uint32_t tl_abs2_float16(uint32_t a) { return a & 0x7fff7fffu; }
TL_INLINE uint32_t tl_abs2_bfloat16(uint32_t a) { return a & 0x7fff7fffu; }
TL_INLINE uint32_t tl_neg2_float16(uint32_t a) { return a ^ 0x80008000u; }
TL_INLINE uint32_t tl_neg2_bfloat16(uint32_t a) { return a ^ 0x80008000u; }

/* ---- 4-bit weights: the nibble becomes the low mantissa bits of 1024 (128), then the offset goes */

TL_INLINE uint32_t tl_uint4x8_to_float16x2(uint32_t q, int i) {
  const uint32_t biased = tl_lop3<0xea>(q >> (4 * i), 0x000f000fu, 0x64006400u);
  return tl_sub2_float16(biased, 0x64006400u); /* 1024 */
}

TL_INLINE uint32_t tl_int4x8_to_float16x2(uint32_t q, int i) { /* flip the sign bit: value + 8 */
  const uint32_t biased = (((q >> (4 * i)) & 0x000f000fu) ^ 0x00080008u) | 0x64006400u;
  return tl_sub2_float16(biased, 0x64086408u); /* 1032 */
}

TL_INLINE uint32_t tl_uint4x8_to_bfloat16x2(uint32_t q, int i) {
  const uint32_t biased = tl_lop3<0xea>(q >> (4 * i), 0x000f000fu, 0x43004300u);
  return tl_fma2_bfloat16(biased, 0x3f803f80u, 0xc300c300u); /* * 1 - 128 */
}

TL_INLINE uint32_t tl_int4x8_to_bfloat16x2(uint32_t q, int i) {
  const uint32_t biased = (((q >> (4 * i)) & 0x000f000fu) ^ 0x00080008u) | 0x43004300u;
  return tl_fma2_bfloat16(biased, 0x3f803f80u, 0xc308c308u); /* - 136 */
}

#endif
