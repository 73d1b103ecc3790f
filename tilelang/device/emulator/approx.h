/* The special-function unit: the functions of the CUDA header of the same name, computed by the C
 * library in double precision and rounded once; the ftz forms flush subnormal arguments and results
 * to zero of their sign, as the device does. */
#ifndef TL_APPROX_H
#define TL_APPROX_H

#include "types.h"

TL_INLINE float tl_emu_flushed(float x) {
  return __builtin_fabsf(x) < 0x1p-126f ? __builtin_copysignf(0.0f, x) : x;
}

#define TL_DEFINE_APPROX(name, expression)                                        \
  TL_INLINE float tl_##name##_ftz_f32(float argument) {                           \
    const double x = tl_emu_flushed(argument);                                    \
    return tl_emu_flushed((float)(expression));                                   \
  }
TL_DEFINE_APPROX(ex2_approx, __builtin_exp2(x))
TL_DEFINE_APPROX(lg2_approx, __builtin_log2(x))
TL_DEFINE_APPROX(rcp_approx, 1 / x)
TL_DEFINE_APPROX(rsqrt_approx, 1 / __builtin_sqrt(x))
TL_DEFINE_APPROX(sqrt_approx, __builtin_sqrt(x))
TL_DEFINE_APPROX(sin_approx, __builtin_sin(x))
TL_DEFINE_APPROX(cos_approx, __builtin_cos(x))
TL_INLINE float tl_ex2_approx_f32(float x) { return (float)__builtin_exp2((double)x); }
TL_INLINE float tl_tanh_approx_f32(float x) { return (float)__builtin_tanh((double)x); }

#define TL_DEFINE_APPROX_PAIR(name)                                                          \
  TL_INLINE uint32_t tl_##name##_f16x2(uint32_t x) {                                         \
    const tl_float16 low = tl_float32_to_float16(                                            \
        tl_##name##_f32(tl_float16_to_float32((tl_float16)x)));                              \
    const tl_float16 high = tl_float32_to_float16(                                           \
        tl_##name##_f32(tl_float16_to_float32((tl_float16)(x >> 16))));                      \
    return low | (uint32_t)high << 16;                                                       \
  }
TL_DEFINE_APPROX_PAIR(ex2_approx)
TL_DEFINE_APPROX_PAIR(tanh_approx)

TL_INLINE float tl_exp2_polynomial_f32(float x) {
  const float shifted = x + 12582912.0f, f = x - (shifted - 12582912.0f);
  float p = 0x1.c3f760p-5f;
  p = __builtin_fmaf(p, f, 0x1.f0de1ap-3f);
  p = __builtin_fmaf(p, f, 0x1.62f31ap-1f);
  p = __builtin_fmaf(p, f, 0x1.fff692p-1f);
  return __uint_as_float(__float_as_uint(p) + (__float_as_uint(shifted) << 23));
}

TL_INLINE float tl_fast_exp_float32(float x) { return tl_ex2_approx_f32(x * 0x1.715476p+0f); }
TL_INLINE float tl_fast_exp10_float32(float x) { return tl_ex2_approx_f32(x * 0x1.a934f0p+1f); }
TL_INLINE float tl_fast_log_float32(float x) { return tl_lg2_approx_ftz_f32(x) * 0x1.62e430p-1f; }
TL_INLINE float tl_fast_log2_float32(float x) { return tl_lg2_approx_ftz_f32(x); }
TL_INLINE float tl_fast_log10_float32(float x) {
  return tl_lg2_approx_ftz_f32(x) * 0x1.344136p-2f;
}
TL_INLINE float tl_fast_sin_float32(float x) { return tl_sin_approx_ftz_f32(x); }
TL_INLINE float tl_fast_cos_float32(float x) { return tl_cos_approx_ftz_f32(x); }
TL_INLINE float tl_fast_tan_float32(float x) {
  return tl_sin_approx_ftz_f32(x) * tl_rcp_approx_ftz_f32(tl_cos_approx_ftz_f32(x));
}
TL_INLINE float tl_fast_rcp_float32(float x) { return tl_rcp_approx_ftz_f32(x); }

#endif
