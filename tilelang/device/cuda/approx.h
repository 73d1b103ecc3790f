/* The special-function unit: one instruction each, named after it.
 *
 *   function                 largest relative error (PTX ISA)      subnormal arguments, results
 *   ex2_approx_ftz_f32       2^-22                                 become 0
 *   ex2_approx_f32           2^-22                                 kept
 *   lg2_approx_ftz_f32       2^-22 absolute near 1                 become 0
 *   rcp_approx_ftz_f32       1 ulp                                 become 0
 *   rsqrt_approx_ftz_f32     2^-22.9                               become 0
 *   sqrt_approx_ftz_f32      1 ulp                                 become 0
 *   sin_approx_ftz_f32, cos  2^-20.5 absolute in [-pi, pi]         become 0
 *   tanh_approx_f32          2^-11
 *   ex2_approx_f16x2, tanh_approx_f16x2 (uint32_t pairs)           2^-9.9, 2^-10.987 absolute
 *
 * tl_exp2_polynomial_f32(x): exp2 on the multiply-add units instead, 13.7 bits; -126 <= x < 128.
 * tl_fast_<name>_float32: what the language's fast_exp ... fast_rcp become. */
#ifndef TL_APPROX_H
#define TL_APPROX_H

#include "types.h"

#define TL_DEFINE_APPROX(name, instruction)                          \
  TL_INLINE float tl_##name(float x) {                               \
    float d;                                                         \
    asm(instruction " %0, %1;" : "=f"(d) : "f"(x));                  \
    return d;                                                        \
  }
TL_DEFINE_APPROX(ex2_approx_ftz_f32, "ex2.approx.ftz.f32")
TL_DEFINE_APPROX(ex2_approx_f32, "ex2.approx.f32")
TL_DEFINE_APPROX(lg2_approx_ftz_f32, "lg2.approx.ftz.f32")
TL_DEFINE_APPROX(rcp_approx_ftz_f32, "rcp.approx.ftz.f32")
TL_DEFINE_APPROX(rsqrt_approx_ftz_f32, "rsqrt.approx.ftz.f32")
TL_DEFINE_APPROX(sqrt_approx_ftz_f32, "sqrt.approx.ftz.f32")
TL_DEFINE_APPROX(sin_approx_ftz_f32, "sin.approx.ftz.f32")
TL_DEFINE_APPROX(cos_approx_ftz_f32, "cos.approx.ftz.f32")
TL_DEFINE_APPROX(tanh_approx_f32, "tanh.approx.f32")

TL_INLINE uint32_t tl_ex2_approx_f16x2(uint32_t x) {
  uint32_t d;
  asm("ex2.approx.f16x2 %0, %1;" : "=r"(d) : "r"(x));
  return d;
}

TL_INLINE uint32_t tl_tanh_approx_f16x2(uint32_t x) {
  uint32_t d;
  asm("tanh.approx.f16x2 %0, %1;" : "=r"(d) : "r"(x));
  return d;
}

/* x = n + f with f in [-1/2, 1/2]: adding 1.5 * 2^23 leaves n in the low bits. The polynomial is a
 * least-maximum-relative-error fit of 2^f. */
TL_INLINE float tl_exp2_polynomial_f32(float x) {
  const float shifted = __fadd_rn(x, 12582912.0f), f = __fsub_rn(x, __fsub_rn(shifted, 12582912.0f));
  float p = 0x1.c3f760p-5f;
  p = __fmaf_rn(p, f, 0x1.f0de1ap-3f);
  p = __fmaf_rn(p, f, 0x1.62f31ap-1f);
  p = __fmaf_rn(p, f, 0x1.fff692p-1f);
  return __uint_as_float(__float_as_uint(p) + (__float_as_uint(shifted) << 23));
}

TL_INLINE float tl_fast_exp_float32(float x) {
  return tl_ex2_approx_f32(__fmul_rn(x, 0x1.715476p+0f));
}
TL_INLINE float tl_fast_exp10_float32(float x) {
  return tl_ex2_approx_f32(__fmul_rn(x, 0x1.a934f0p+1f));
}
TL_INLINE float tl_fast_log_float32(float x) {
  return __fmul_rn(tl_lg2_approx_ftz_f32(x), 0x1.62e430p-1f);
}
TL_INLINE float tl_fast_log2_float32(float x) { return tl_lg2_approx_ftz_f32(x); }
TL_INLINE float tl_fast_log10_float32(float x) {
  return __fmul_rn(tl_lg2_approx_ftz_f32(x), 0x1.344136p-2f);
}
TL_INLINE float tl_fast_sin_float32(float x) { return tl_sin_approx_ftz_f32(x); }
TL_INLINE float tl_fast_cos_float32(float x) { return tl_cos_approx_ftz_f32(x); }
TL_INLINE float tl_fast_tan_float32(float x) {
  return __fmul_rn(tl_sin_approx_ftz_f32(x), tl_rcp_approx_ftz_f32(tl_cos_approx_ftz_f32(x)));
}
TL_INLINE float tl_fast_rcp_float32(float x) { return tl_rcp_approx_ftz_f32(x); }

#endif
