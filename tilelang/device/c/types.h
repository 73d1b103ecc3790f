/* Small floating-point formats, one value per uint8_t or uint16_t, and 4-bit values packed in
 * pairs.
 *
 * For every format F below:  float tl_F_to_float32(tl_F x);  tl_F tl_float32_to_F(float x);
 * all branch-free integer and float arithmetic, so the compiler vectorises loops over them.
 *
 *   format          bits  largest   beyond the largest  NaN            remarks
 *   float16         1.5.10  65504   infinity            kept           IEEE 754
 *   bfloat16        1.8.7   3.4e38  infinity            kept
 *   float8_e3m4     1.3.4   15.5    saturates           kept           IEEE form: decodes infinity
 *   float8_e4m3     1.4.3   448     saturates           kept (S.1111.111)  float8_e4m3fn
 *   float8_e4m3fn   1.4.3   448     saturates           kept (S.1111.111)
 *   float8_e4m3fnuz 1.4.3   240     saturates           kept (0x80)    bias 8, no -0
 *   float8_e4m3b11fnuz      30      saturates           kept (0x80)    bias 11, no -0
 *   float8_e5m2     1.5.2   57344   saturates           kept           IEEE form: decodes infinity
 *   float8_e5m2fnuz 1.5.2   57344   saturates           kept (0x80)    bias 16, no -0
 *   float8_e8m0fnu  0.8.0   2^127   saturates           kept (0xff)    2^n only; negative -> NaN,
 *                                                                      0 -> 2^-127, the smallest
 *   float6_e2m3fn   1.2.3   7.5     saturates           -> +largest    low 6 bits
 *   float6_e3m2fn   1.3.2   28      saturates           -> +largest    low 6 bits
 *   float4_e2m1fn   1.2.1   6       saturates           -> +largest    low 4 bits
 *
 * Rounding is to nearest, ties to even (e8m0: ties up). "Saturates" includes infinite arguments.
 * Compiles alone. */
#ifndef TL_TYPES_H
#define TL_TYPES_H

#include <stdint.h>

#define TL_INLINE static inline __attribute__((always_inline, unused))

typedef uint16_t tl_float16, tl_bfloat16;
typedef uint8_t tl_float8_e3m4, tl_float8_e4m3, tl_float8_e4m3fn, tl_float8_e4m3fnuz,
    tl_float8_e4m3b11fnuz, tl_float8_e5m2, tl_float8_e5m2fnuz, tl_float8_e8m0fnu;
typedef uint8_t tl_float6_e2m3fn, tl_float6_e3m2fn, tl_float4_e2m1fn;

TL_INLINE float tl_bits_to_float32(uint32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}

TL_INLINE uint32_t tl_float32_to_bits(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  return bits;
}

/* What the codes outside the finite numbers mean. */
enum {
  TL_FINITE_ONLY, /* nothing: every code is a number */
  TL_IEEE,        /* exponent all ones: infinity, NaN */
  TL_FN,          /* all ones below the sign: NaN */
  TL_FNUZ         /* the code of -0: NaN */
};

/* x: code of a format with `e` exponent bits, `m` mantissa bits, exponent bias `bias`.
 * A subnormal is (2^emin * (1 + mag / 2^m)) - 2^emin, exact in float32. */
TL_INLINE float tl_decode_float(uint32_t x, int e, int m, int bias, int special) {
  const uint32_t mag_mask = (1u << (e + m)) - 1, min_normal = 1u << m;
  const uint32_t mag = x & mag_mask, sign = ((x >> (e + m)) & 1) << 31;
  const uint32_t emin = (uint32_t)(128 - bias) << 23;
  const uint32_t normal = (mag << (23 - m)) + ((uint32_t)(127 - bias) << 23);
  const uint32_t subnormal =
      tl_float32_to_bits(tl_bits_to_float32((mag << (23 - m)) + emin) - tl_bits_to_float32(emin));
  uint32_t bits = mag < min_normal ? subnormal : normal;
  if (special == TL_IEEE) {
    const uint32_t inf = ((1u << e) - 1) << m;
    bits = mag >= inf ? 0x7f800000u | (mag << (23 - m)) : bits;
  }
  if (special == TL_FN) bits = mag == mag_mask ? 0x7fc00000u : bits;
  bits |= sign;
  if (special == TL_FNUZ) bits = (x & (2 * mag_mask + 1)) == mag_mask + 1 ? 0x7fc00000u : bits;
  return tl_bits_to_float32(bits);
}

/* Code of x. `largest` is the code of the largest finite number, `over` what larger numbers become.
 * Normal range: add half of the last kept bit, ties to even, in integers. Below it: the addition of
 * a float whose last bit weighs one subnormal step does the rounding. */
TL_INLINE uint32_t tl_encode_float(float x, int e, int m, int bias, int special, uint32_t largest,
                                   uint32_t over) {
  const uint32_t u = tl_float32_to_bits(x), a = u & 0x7fffffffu;
  const uint32_t sign = (u >> 31) << (e + m);
  const uint32_t rounded = a + ((1u << (22 - m)) - 1) + ((a >> (23 - m)) & 1);
  const uint32_t normal = (rounded >> (23 - m)) - ((uint32_t)(127 - bias) << m);
  const uint32_t step = (uint32_t)(1 - bias - m + 23 + 127) << 23;
  const uint32_t subnormal =
      tl_float32_to_bits(tl_bits_to_float32(a) + tl_bits_to_float32(step)) - step;
  uint32_t code = a < ((uint32_t)(128 - bias) << 23) ? subnormal : normal;
  code = a < 0x7f800000u && code <= largest ? code : over;
  if (special == TL_FNUZ) {
    code = code ? code | sign : 0;
    return a > 0x7f800000u ? 1u << (e + m) : code;
  }
  if (special == TL_FINITE_ONLY) return a > 0x7f800000u ? largest : code | sign;
  const uint32_t nan =
      special == TL_FN ? (1u << (e + m)) - 1 : (((1u << e) - 1) << m) | 1u << (m - 1);
  return (a > 0x7f800000u ? nan : code) | sign;
}

#define TL_DEFINE_FORMAT(name, e, m, bias, special, largest, over)            \
  TL_INLINE float tl_##name##_to_float32(tl_##name x) {                       \
    return tl_decode_float(x, e, m, bias, special);                           \
  }                                                                           \
  TL_INLINE tl_##name tl_float32_to_##name(float x) {                         \
    return (tl_##name)tl_encode_float(x, e, m, bias, special, largest, over); \
  }

#if defined(__clang__) && (defined(__F16C__) || defined(__aarch64__))
/* These compilers vectorise the conversion instruction; gcc does not. */
TL_INLINE float tl_float16_to_float32(tl_float16 x) {
  _Float16 h;
  __builtin_memcpy(&h, &x, 2);
  return (float)h;
}
TL_INLINE tl_float16 tl_float32_to_float16(float x) {
  _Float16 h = (_Float16)x;
  tl_float16 bits;
  __builtin_memcpy(&bits, &h, 2);
  return bits;
}
#else
TL_DEFINE_FORMAT(float16, 5, 10, 15, TL_IEEE, 0x7bff, 0x7c00)
#endif
TL_DEFINE_FORMAT(float8_e3m4, 3, 4, 3, TL_IEEE, 0x6f, 0x6f)
TL_DEFINE_FORMAT(float8_e4m3, 4, 3, 7, TL_FN, 0x7e, 0x7e)
TL_DEFINE_FORMAT(float8_e4m3fn, 4, 3, 7, TL_FN, 0x7e, 0x7e)
TL_DEFINE_FORMAT(float8_e4m3fnuz, 4, 3, 8, TL_FNUZ, 0x7f, 0x7f)
TL_DEFINE_FORMAT(float8_e4m3b11fnuz, 4, 3, 11, TL_FNUZ, 0x7f, 0x7f)
TL_DEFINE_FORMAT(float8_e5m2, 5, 2, 15, TL_IEEE, 0x7b, 0x7b)
TL_DEFINE_FORMAT(float8_e5m2fnuz, 5, 2, 16, TL_FNUZ, 0x7f, 0x7f)
TL_DEFINE_FORMAT(float6_e2m3fn, 2, 3, 1, TL_FINITE_ONLY, 0x1f, 0x1f)
TL_DEFINE_FORMAT(float6_e3m2fn, 3, 2, 3, TL_FINITE_ONLY, 0x1f, 0x1f)
TL_DEFINE_FORMAT(float4_e2m1fn, 2, 1, 1, TL_FINITE_ONLY, 0x7, 0x7)

TL_INLINE float tl_bfloat16_to_float32(tl_bfloat16 x) {
  return tl_bits_to_float32((uint32_t)x << 16);
}

TL_INLINE tl_bfloat16 tl_float32_to_bfloat16(float x) {
  const uint32_t u = tl_float32_to_bits(x);
  const uint32_t rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
  return (tl_bfloat16)((u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40 : rounded);
}

#include "../scalar/e8m0.h"

/* ---- 4-bit values, two per byte, the even index in the low half ------------------------------ */

/* Leaves the other half of the byte as it is: not for two threads on the two halves of one byte. */
TL_INLINE void tl_nibble_set(uint8_t *p, int64_t i, uint8_t x) {
  const int shift = (int)(i & 1) * 4;
  p[i >> 1] = (uint8_t)((p[i >> 1] & (0xf0 >> shift)) | ((x & 0xf) << shift));
}

#include "../scalar/nibble.h"

#endif
