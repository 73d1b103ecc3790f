/* Elementary functions of float32 and float64: tl_<name>_float32(x), tl_<name>_float64(x).
 *
 * The float32 ones below under "own" are branch-free so that loops over them vectorise: selects,
 * fused multiply-adds where the machine has them, exponent bits moved as integers. Largest errors
 * found over four million arguments spread over all floats, in units in the last place, with FMA
 * (without):
 *
 *   exp 1.0  exp2 1.0 (1.1)  exp10 1.2 (1.3)    denormal results, overflow to inf, underflow to 0
 *   log 0.8  log2 1.1 (1.7)  log10 0.9 (1.8)  log1p 1.7   log(negative) is NaN, log(0) is -inf
 *   tanh 1.3  erf 1.9  sigmoid 2.5                  no overflow on the way, exact at +-inf
 *   sin 0.6  cos 0.6  tan 0.6                   for |x| <= 2^30 (2^22); beyond that only bounded
 *   rsqrt 1.5
 *
 * Everything else, and all of float64, is the C library's (link with -lm where that is apart). NaN
 * gives NaN everywhere. The polynomials are least-maximum-error fits in float32 coefficients.
 * Compiles alone. */
#ifndef TL_MATH_H
#define TL_MATH_H

#include "types.h"

TL_INLINE double tl_bits_to_float64(uint64_t bits) {
  double x;
  __builtin_memcpy(&x, &bits, 8);
  return x;
}

TL_INLINE uint64_t tl_float64_to_bits(double x) {
  uint64_t bits;
  __builtin_memcpy(&bits, &x, 8);
  return bits;
}

/* ---- own: exponentials ----------------------------------------------------------------------- */

/* 1.5 * 2^23 + 254: adding it leaves n + 254 in the low bits, n the nearest integer; see below. */
#define TL_ROUNDER 12583166.0f

/* The bits of `shifted`, which is n + TL_ROUNDER > 0, for n limited to 130: as an integer, because a
 * second comparison of floats would be turned into jumps. What exceeds it (inf, too) stays in r. */
TL_INLINE uint32_t tl_rounded_bits(float shifted) {
  const uint32_t bits = tl_float32_to_bits(shifted), high = 0x4b400000u + 254 + 130;
  return bits < high ? bits : high;
}

/* p * 2^n for n in [-252, 254], where `bits` are those of n + TL_ROUNDER. In two steps: one factor
 * 2^n may be out of range where p * 2^n is not. The biases of both are in the 254 already. */
TL_INLINE float tl_scale_by_exp2(float p, uint32_t bits) {
  const uint32_t half = bits >> 1;
  return p * tl_bits_to_float32(half << 23) * tl_bits_to_float32((bits - half) << 23);
}

/* exp(x) = 2^n exp(r), r = x - n ln 2 in two parts, |r| <= ln(2)/2 (larger where the result is inf
 * anyway). Comparisons keep NaN: they are false for it. */
TL_INLINE float tl_exp_float32(float x) {
  x = x < -105.0f ? -105.0f : x;
  const uint32_t bits = tl_rounded_bits(x * 0x1.715476p+0f + TL_ROUNDER);
  const float n = tl_bits_to_float32(bits) - TL_ROUNDER;
  const float r = (x - n * 0x1.63p-1f) - n * -0x1.bd0106p-13f;
  float q = 0x1.6a1076p-10f;
  q = q * r + 0x1.1245c8p-7f;
  q = q * r + 0x1.55593cp-5f;
  q = q * r + 0x1.555482p-3f;
  q = q * r + 0x1.fffffcp-2f;
  return tl_scale_by_exp2(1.0f + (r + r * r * q), bits);
}

TL_INLINE float tl_exp2_float32(float x) {
  x = x < -152.0f ? -152.0f : x;
  const uint32_t bits = tl_rounded_bits(x + TL_ROUNDER);
  const float r = x - (tl_bits_to_float32(bits) - TL_ROUNDER);
  float q = 0x1.41f61cp-13f;
  q = q * r + 0x1.5f4708p-10f;
  q = q * r + 0x1.3b2d68p-7f;
  q = q * r + 0x1.c6aed8p-5f;
  q = q * r + 0x1.ebfbdcp-3f;
  q = q * r - 0x1.05c610p-29f;
  return tl_scale_by_exp2(1.0f + (r * 0x1.62e430p-1f + r * q), bits);
}

TL_INLINE float tl_exp10_float32(float x) {
  x = x < -46.0f ? -46.0f : x;
  const uint32_t bits = tl_rounded_bits(x * 0x1.a934f0p+1f + TL_ROUNDER);
  const float n = tl_bits_to_float32(bits) - TL_ROUNDER;
  const float r = (x - n * 0x1.34p-2f) - n * 0x1.04d428p-12f;
  float q = 0x1.a67d28p-3f;
  q = q * r + 0x1.159222p-1f;
  q = q * r + 0x1.2bda0ap+0f;
  q = q * r + 0x1.046f54p+1f;
  q = q * r + 0x1.53524ap+1f;
  q = q * r - 0x1.12aab4p-25f;
  return tl_scale_by_exp2(1.0f + (r * 0x1.26bb1cp+1f + r * q), bits);
}

/* ---- own: logarithms ------------------------------------------------------------------------- */

/* x = 2^e (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)); log_b(x) = e log_b(2) + log_b(e) log(1 + f),
 * each constant in two parts. Right for finite x > 0, denormal too; the caller handles the rest. */
TL_INLINE float tl_log_core(float x, float log2_hi, float log2_lo, float loge_hi, float loge_lo) {
  const int is_tiny = x < 0x1p-126f;
  const uint32_t ix = tl_float32_to_bits(is_tiny ? x * 0x1p23f : x) - 0x3f3504f3u;
  const float e = (float)(((int32_t)ix >> 23) - (is_tiny ? 23 : 0));
  const float f = tl_bits_to_float32((ix & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
  float q = -0x1.38afa8p-4f;
  q = q * f + 0x1.08aedap-3f;
  q = q * f - 0x1.0f5114p-3f;
  q = q * f + 0x1.226426p-3f;
  q = q * f - 0x1.5422f0p-3f;
  q = q * f + 0x1.99a476p-3f;
  q = q * f - 0x1.00043ep-2f;
  q = q * f + 0x1.555550p-2f;
  q = q * f - 0x1.fffff8p-2f;
  const float small = (f * loge_lo + f * f * q * loge_hi) + e * log2_lo;
  return e * log2_hi + (f * loge_hi + small);
}

/* What every logarithm says of arguments that are not finite and positive. */
TL_INLINE float tl_log_edges(float x, float y) {
  y = x == __builtin_inff() ? x : y;
  y = x == 0.0f ? -__builtin_inff() : y;
  return x >= 0.0f ? y : __builtin_nanf("");
}

TL_INLINE float tl_log_float32(float x) {
  return tl_log_edges(x, tl_log_core(x, 0x1.63p-1f, -0x1.bd0106p-13f, 1.0f, 0.0f));
}

TL_INLINE float tl_log2_float32(float x) {
  return tl_log_edges(x, tl_log_core(x, 1.0f, 0.0f, 0x1.715476p+0f, 0x1.4ae0cp-26f));
}

TL_INLINE float tl_log10_float32(float x) {
  return tl_log_edges(
      x, tl_log_core(x, 0x1.34p-2f, 0x1.04d428p-12f, 0x1.bcb7b2p-2f, -0x1.5b235ep-27f));
}

/* log(u) + (what 1 + x lost when rounded to u) / u. */
TL_INLINE float tl_log1p_float32(float x) {
  const float u = 1.0f + x, lost = x < 1.0f ? x - (u - 1.0f) : 1.0f - (u - x);
  const float y = tl_log_core(u, 0x1.63p-1f, -0x1.bd0106p-13f, 1.0f, 0.0f) + lost / u;
  return x == 0.0f ? x : tl_log_edges(u, y);
}

/* ---- own: sigmoid, tanh, erf ----------------------------------------------------------------- */

TL_INLINE float tl_sigmoid_float32(float x) {
  const float e = tl_exp_float32(x < 0.0f ? x : -x), s = 1.0f / (1.0f + e);
  return x < 0.0f ? e * s : s;
}

TL_INLINE float tl_tanh_float32(float x) {
  const float a = __builtin_fabsf(x), z = x * x;
  float q = 0x1.178372p-9f;
  q = q * z - 0x1.0b97dap-7f;
  q = q * z + 0x1.637912p-6f;
  q = q * z - 0x1.b9ecf2p-5f;
  q = q * z + 0x1.11105ep-3f;
  q = q * z - 0x1.555554p-2f;
  const float large = 1.0f - 2.0f / (tl_exp_float32(2.0f * a) + 1.0f);
  return __builtin_copysignf(a < 0.625f ? a + a * z * q : large, x);
}

/* Odd polynomial below 1; above, 1 - exp(p(|x|)), where p fits log(erfc). */
TL_INLINE float tl_erf_float32(float x) {
  const float a = __builtin_fabsf(x), z = x * x, t = a > 4.0f ? 4.0f : a;
  float q = 0x1.480616p-14f;
  q = q * z - 0x1.a37aa4p-11f;
  q = q * z + 0x1.53f582p-8f;
  q = q * z - 0x1.b7f720p-6f;
  q = q * z + 0x1.ce2cdep-4f;
  q = q * z - 0x1.81273ep-2f;
  q = q * z - 0x1.f7ac92p-25f;
  float p = -0x1.6c071ep-16f;
  p = p * t + 0x1.ceeb5ap-12f;
  p = p * t - 0x1.13991cp-8f;
  p = p * t + 0x1.9d0becp-6f;
  p = p * t - 0x1.bc18d8p-4f;
  p = p * t - 0x1.4434f0p-1f;
  p = p * t - 0x1.212c2cp+0f;
  p = p * t + 0x1.8b20cep-13f;
  const float small = a * 0x1.20dd76p+0f + a * q, large = 1.0f - tl_exp_float32(p);
  return __builtin_copysignf(a < 1.0f ? small : large, x);
}

/* ---- own: circular functions, in double so that one reduction and a short polynomial are exact
 * enough */

/* x = n pi/2 + r, |r| <= pi/4; pi/2 in three parts, so that n times the first two is exact. */
TL_INLINE double tl_reduce_by_half_pi(float x, uint32_t *n) {
  const double rounder = 0x1.8p52, shifted = (double)x * 0x1.45f306dc9c883p-1 + rounder;
  const double k = shifted - rounder;
  *n = (uint32_t)tl_float64_to_bits(shifted);
  double r = (((double)x - k * 0x1.921fb544p+0) - k * 0x1.0b4611a0p-34) - k * 0x1.898cc51701b84p-64;
  r = r < -0.8 ? -0.8 : r;
  return r > 0.8 ? 0.8 : r;
}

TL_INLINE double tl_sin_core(double r) {
  const double z = r * r;
  double q = 0x1.6ccbb2a7ce98bp-19;
  q = q * z - 0x1.a00f68f2b4fb0p-13;
  q = q * z + 0x1.1111085561032p-7;
  q = q * z - 0x1.5555554c61880p-3;
  return r + r * z * q;
}

TL_INLINE double tl_cos_core(double r) {
  const double z = r * r;
  double q = 0x1.99f2d8b2d22b5p-16;
  q = q * z - 0x1.6c0c575df688ap-10;
  q = q * z + 0x1.55554a61b669bp-5;
  return 1.0 - 0.5 * z + z * z * q;
}

/* sin(x + quarter * pi/2). */
TL_INLINE float tl_sin_shifted(float x, uint32_t quarter) {
  uint32_t n;
  const double r = tl_reduce_by_half_pi(x, &n), s = tl_sin_core(r), c = tl_cos_core(r);
  n += quarter;
  const float y = (float)(n & 1 ? c : s), signed_y = n & 2 ? -y : y;
  return x - x == 0.0f ? signed_y : __builtin_nanf("");
}

TL_INLINE float tl_sin_float32(float x) { return x == 0.0f ? x : tl_sin_shifted(x, 0); }
TL_INLINE float tl_cos_float32(float x) { return tl_sin_shifted(x, 1); }

TL_INLINE float tl_tan_float32(float x) {
  uint32_t n;
  const double r = tl_reduce_by_half_pi(x, &n), s = tl_sin_core(r), c = tl_cos_core(r);
  const float y = (float)(n & 1 ? -c / s : s / c);
  return x - x == 0.0f ? (x == 0.0f ? x : y) : __builtin_nanf("");
}

TL_INLINE float tl_rsqrt_float32(float x) { return 1.0f / __builtin_sqrtf(x); }
TL_INLINE double tl_rsqrt_float64(double x) { return 1.0 / __builtin_sqrt(x); }
TL_INLINE double tl_sigmoid_float64(double x) {
  const double e = __builtin_exp(x < 0 ? x : -x), s = 1 / (1 + e);
  return x < 0 ? e * s : s;
}
TL_INLINE double tl_exp10_float64(double x) { return __builtin_pow(10.0, x); }

/* ---- the C library's ------------------------------------------------------------------------- */

#define TL_LIBM_FLOAT64(name) \
  TL_INLINE double tl_##name##_float64(double x) { return __builtin_##name(x); }
#define TL_LIBM(name)   \
  TL_LIBM_FLOAT64(name) \
  TL_INLINE float tl_##name##_float32(float x) { return __builtin_##name##f(x); }
#define TL_LIBM_2(name)                                                                       \
  TL_INLINE float tl_##name##_float32(float x, float y) { return __builtin_##name##f(x, y); } \
  TL_INLINE double tl_##name##_float64(double x, double y) { return __builtin_##name(x, y); }

TL_LIBM_FLOAT64(exp)
TL_LIBM_FLOAT64(exp2)
TL_LIBM_FLOAT64(log)
TL_LIBM_FLOAT64(log2)
TL_LIBM_FLOAT64(log10)
TL_LIBM_FLOAT64(log1p)
TL_LIBM_FLOAT64(tanh)
TL_LIBM_FLOAT64(erf)
TL_LIBM_FLOAT64(sin)
TL_LIBM_FLOAT64(cos)
TL_LIBM_FLOAT64(tan)
TL_LIBM(expm1)
TL_LIBM(erfc)
TL_LIBM(sinh)
TL_LIBM(cosh)
TL_LIBM(asinh)
TL_LIBM(acosh)
TL_LIBM(atanh)
TL_LIBM(asin)
TL_LIBM(acos)
TL_LIBM(atan)
TL_LIBM(lgamma)
TL_LIBM(tgamma)
TL_LIBM(cbrt)
TL_LIBM(sqrt)
TL_LIBM(fabs)
TL_LIBM(floor)
TL_LIBM(ceil)
TL_LIBM(trunc)
TL_LIBM(round)
TL_LIBM(nearbyint)
TL_LIBM_2(pow)
TL_LIBM_2(atan2)
TL_LIBM_2(fmod)
TL_LIBM_2(hypot)
TL_LIBM_2(copysign)
TL_LIBM_2(nextafter)

TL_INLINE float tl_fma_float32(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
TL_INLINE double tl_fma_float64(double x, double y, double z) { return __builtin_fma(x, y, z); }
TL_INLINE float tl_ldexp_float32(float x, int32_t n) { return __builtin_ldexpf(x, n); }
TL_INLINE double tl_ldexp_float64(double x, int32_t n) { return __builtin_ldexp(x, n); }

#endif
