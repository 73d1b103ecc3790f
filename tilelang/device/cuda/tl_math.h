/* Elementary functions of float32 and float64: tl_<name>_float32(x), tl_<name>_float64(x), by the
 * compiler's own library. Its errors are a few units in the last place (CUDA programming guide,
 * "Mathematical Functions"); NaN gives NaN; --use_fast_math makes the float32 ones approximate.
 *
 *   tl_sigmoid_T keeps its precision for large negative arguments.
 *   Deliberately approximate functions are in approx.h. Compiles alone. */
#ifndef TL_MATH_H
#define TL_MATH_H

#include "types.h"

#define TL_LIBM(name)                                                       \
  TL_INLINE float tl_##name##_float32(float x) { return name##f(x); }       \
  TL_INLINE double tl_##name##_float64(double x) { return name(x); }
#define TL_LIBM_2(name)                                                               \
  TL_INLINE float tl_##name##_float32(float x, float y) { return name##f(x, y); }     \
  TL_INLINE double tl_##name##_float64(double x, double y) { return name(x, y); }

TL_LIBM(exp)
TL_LIBM(exp2)
TL_LIBM(exp10)
TL_LIBM(expm1)
TL_LIBM(log)
TL_LIBM(log2)
TL_LIBM(log10)
TL_LIBM(log1p)
TL_LIBM(sin)
TL_LIBM(cos)
TL_LIBM(tan)
TL_LIBM(asin)
TL_LIBM(acos)
TL_LIBM(atan)
TL_LIBM(sinh)
TL_LIBM(cosh)
TL_LIBM(tanh)
TL_LIBM(asinh)
TL_LIBM(acosh)
TL_LIBM(atanh)
TL_LIBM(erf)
TL_LIBM(erfc)
TL_LIBM(lgamma)
TL_LIBM(tgamma)
TL_LIBM(cbrt)
TL_LIBM(sqrt)
TL_LIBM(rsqrt)
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

TL_INLINE float tl_fma_float32(float x, float y, float z) { return fmaf(x, y, z); }
TL_INLINE double tl_fma_float64(double x, double y, double z) { return fma(x, y, z); }
TL_INLINE float tl_ldexp_float32(float x, int32_t n) { return ldexpf(x, n); }
TL_INLINE double tl_ldexp_float64(double x, int32_t n) { return ldexp(x, n); }

TL_INLINE float tl_sigmoid_float32(float x) {
  const float e = expf(-fabsf(x)), s = 1.0f / (1.0f + e);
  return x < 0.0f ? e * s : s;
}
TL_INLINE double tl_sigmoid_float64(double x) {
  const double e = exp(-fabs(x)), s = 1 / (1 + e);
  return x < 0 ? e * s : s;
}

#endif
