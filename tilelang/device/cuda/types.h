/* Fixed-width integers, bit casts, and the small floating-point formats, one value per uint8_t or
 * uint16_t; 4-bit values lie two to a byte.
 *
 * For every format F:  float tl_F_to_float32(tl_F x);  tl_F tl_float32_to_F(float x);
 * Names, rounding (nearest, ties to even; e8m0: ties up) and saturation are those of the CPU
 * target's header of the same name. Where the device has a conversion instruction it is used
 * (float16 always, bfloat16 from sm_80, float8_e4m3(fn) and float8_e5m2 from sm_89); the rest is
 * integer and float arithmetic. The bits of a NaN may differ between the two ways.
 *
 *   tl_float32_to_tfloat32(x)   float32 rounded to 10 mantissa bits, ties away from zero
 *
 * Compiles alone. */
#ifndef TL_TYPES_H
#define TL_TYPES_H

#define TL_INLINE __device__ __forceinline__

#include "../scalar/fixed_width.h"

TL_INLINE float tl_bits_to_float32(uint32_t bits) { return __uint_as_float(bits); }
TL_INLINE uint32_t tl_float32_to_bits(float x) { return __float_as_uint(x); }
TL_INLINE double tl_bits_to_float64(uint64_t bits) { return __longlong_as_double((int64_t)bits); }
TL_INLINE uint64_t tl_float64_to_bits(double x) { return (uint64_t)__double_as_longlong(x); }

/* What shared text writes for constants that have no literal; NVRTC has no such built-ins. */
#define __builtin_inff() (__uint_as_float(0x7f800000u))
#define __builtin_inf() (__longlong_as_double(0x7ff0000000000000LL))
#define __builtin_nanf(text) (__uint_as_float(0x7fffffffu))
#define __builtin_nan(text) (__longlong_as_double(0x7fffffffffffffffLL))

/* ---- any small format, by arithmetic --------------------------------------------------------- */

enum tl_special {  /* what the codes outside the finite numbers mean */
  TL_FINITE_ONLY,  /* nothing: every code is a number */
  TL_IEEE,         /* exponent all ones: infinity, NaN */
  TL_FN,           /* all ones below the sign: NaN */
  TL_FNUZ          /* the code of -0: NaN */
};

/* E exponent bits, M mantissa bits. A subnormal is 2^emin (1 + mag / 2^M) - 2^emin, exact. */
template <int E, int M, int BIAS, tl_special SPECIAL>
TL_INLINE float tl_decode_float(uint32_t code) {
  constexpr uint32_t all = (1u << (E + M)) - 1, inf = ((1u << E) - 1) << M;
  constexpr uint32_t emin = (uint32_t)(128 - BIAS) << 23;
  const uint32_t mag = code & all, sign = (code >> (E + M) & 1) << 31, wide = mag << (23 - M);
  const float tiny = __uint_as_float(wide + emin) - __uint_as_float(emin);
  uint32_t bits = mag >> M ? wide + ((uint32_t)(127 - BIAS) << 23) : __float_as_uint(tiny);
  if (SPECIAL == TL_IEEE && mag >= inf) bits = 0x7f800000u | wide;
  if (SPECIAL == TL_FN && mag == all) bits = 0x7fc00000u;
  if (SPECIAL == TL_FNUZ && sign && mag == 0) bits = 0x7fc00000u;
  return __uint_as_float(bits | sign);
}

/* LARGEST: code of the largest finite number, which larger ones become. Normal range: half of the
 * last kept bit is added in integers. Below: adding a float whose last bit weighs one subnormal
 * step rounds. */
template <int E, int M, int BIAS, tl_special SPECIAL, uint32_t LARGEST>
TL_INLINE uint8_t tl_encode_float(float x) {
  constexpr uint32_t step = (uint32_t)(1 - BIAS - M + 23 + 127) << 23, top = 1u << (E + M);
  constexpr uint32_t nan = SPECIAL == TL_FN ? top - 1 : ((1u << E) - 1) << M | 1u << (M - 1);
  const uint32_t u = __float_as_uint(x), a = u & 0x7fffffffu, sign = u >> 31 ? top : 0;
  if (a > 0x7f800000u)
    return (uint8_t)(SPECIAL == TL_FNUZ ? top : SPECIAL == TL_FINITE_ONLY ? LARGEST : nan | sign);
  const uint32_t rounded = a + ((1u << (22 - M)) - 1) + (a >> (23 - M) & 1);
  const uint32_t normal = (rounded >> (23 - M)) - ((uint32_t)(127 - BIAS) << M);
  const uint32_t small = __float_as_uint(__uint_as_float(a) + __uint_as_float(step)) - step;
  uint32_t code = a < ((uint32_t)(128 - BIAS) << 23) ? small : normal;
  code = a < 0x7f800000u && code <= LARGEST ? code : LARGEST;
  return (uint8_t)(SPECIAL == TL_FNUZ && code == 0 ? 0 : code | sign);
}

#define TL_DEFINE_FORMAT(name, E, M, BIAS, SPECIAL, LARGEST)                  \
  TL_INLINE float tl_##name##_to_float32(tl_##name x) {                       \
    return tl_decode_float<E, M, BIAS, SPECIAL>(x);                           \
  }                                                                           \
  TL_INLINE tl_##name tl_float32_to_##name(float x) {                         \
    return tl_encode_float<E, M, BIAS, SPECIAL, LARGEST>(x);                  \
  }

TL_DEFINE_FORMAT(float8_e3m4, 3, 4, 3, TL_IEEE, 0x6f)
TL_DEFINE_FORMAT(float8_e4m3fnuz, 4, 3, 8, TL_FNUZ, 0x7f)
TL_DEFINE_FORMAT(float8_e4m3b11fnuz, 4, 3, 11, TL_FNUZ, 0x7f)
TL_DEFINE_FORMAT(float8_e5m2fnuz, 5, 2, 16, TL_FNUZ, 0x7f)
TL_DEFINE_FORMAT(float6_e2m3fn, 2, 3, 1, TL_FINITE_ONLY, 0x1f)
TL_DEFINE_FORMAT(float6_e3m2fn, 3, 2, 3, TL_FINITE_ONLY, 0x1f)
TL_DEFINE_FORMAT(float4_e2m1fn, 2, 1, 1, TL_FINITE_ONLY, 0x7)

/* ---- formats with instructions --------------------------------------------------------------- */

TL_INLINE float tl_float16_to_float32(tl_float16 x) {
  float d;
  asm("cvt.f32.f16 %0, %1;" : "=f"(d) : "h"(x));
  return d;
}

TL_INLINE tl_float16 tl_float32_to_float16(float x) {
  tl_float16 d;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(d) : "f"(x));
  return d;
}

TL_INLINE float tl_bfloat16_to_float32(tl_bfloat16 x) { return __uint_as_float((uint32_t)x << 16); }

TL_INLINE tl_bfloat16 tl_float32_to_bfloat16(float x) {
#if __CUDA_ARCH__ >= 800
  tl_bfloat16 d;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(d) : "f"(x));
  return d;
#else
  const uint32_t u = __float_as_uint(x), rounded = (u + 0x7fff + (u >> 16 & 1)) >> 16;
  return (tl_bfloat16)((u & 0x7fffffffu) > 0x7f800000u ? 0x7fff : rounded);
#endif
}

#if __CUDA_ARCH__ >= 890
#define TL_DEFINE_FLOAT8(name, ptx)                                                        \
  TL_INLINE float tl_##name##_to_float32(tl_##name x) {                                    \
    uint32_t pair; /* of float16 */                                                        \
    asm("cvt.rn.f16x2." ptx "x2 %0, %1;" : "=r"(pair) : "h"((uint16_t)x));                 \
    return tl_float16_to_float32((uint16_t)pair);                                          \
  }                                                                                        \
  TL_INLINE tl_##name tl_float32_to_##name(float x) {                                      \
    uint16_t d; /* the first source goes to the high half */                               \
    asm("cvt.rn.satfinite." ptx "x2.f32 %0, %1, %2;" : "=h"(d) : "f"(0.0f), "f"(x));       \
    return (uint8_t)d;                                                                     \
  }
TL_DEFINE_FLOAT8(float8_e4m3, "e4m3")
TL_DEFINE_FLOAT8(float8_e4m3fn, "e4m3")
TL_DEFINE_FLOAT8(float8_e5m2, "e5m2")
#else
TL_DEFINE_FORMAT(float8_e4m3, 4, 3, 7, TL_FN, 0x7e)
TL_DEFINE_FORMAT(float8_e4m3fn, 4, 3, 7, TL_FN, 0x7e)
TL_DEFINE_FORMAT(float8_e5m2, 5, 2, 15, TL_IEEE, 0x7b)
#endif

#include "../scalar/e8m0.h"

TL_INLINE float tl_float32_to_tfloat32(float x) {
#if __CUDA_ARCH__ >= 800
  uint32_t d;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(d) : "f"(x));
  return __uint_as_float(d & 0xffffe000u);
#else
  const uint32_t u = __float_as_uint(x);
  return (u & 0x7f800000u) == 0x7f800000u ? x : __uint_as_float((u + 0x1000u) & 0xffffe000u);
#endif
}

/* ---- 4-bit values, two per byte, the even index in the low half ------------------------------ */

/* For memory of one thread: two threads on the two halves of a byte take tl_atomic_put_b4. */
TL_INLINE void tl_nibble_set(uint8_t *p, int64_t i, uint8_t x) {
  const int shift = (int)(i & 1) * 4;
  p[i >> 1] = (uint8_t)((p[i >> 1] & (0xf0 >> shift)) | ((x & 0xf) << shift));
}

#include "../scalar/nibble.h"

#endif
