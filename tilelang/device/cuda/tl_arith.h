/* Integer and comparison arithmetic whose operators mean something else, or mean nothing at the
 * edges: floor division, minimum and maximum with NaN, float to integer, bit counts.
 *
 *   tl_floordiv_T(a, b)  tl_floormod_T(a, b)   T any (u)int8..64, float32, float64; b != 0
 *   tl_max_num_T  tl_min_num_T                 float32, float64: a NaN loses against a number
 *   tl_max_nan_T  tl_min_nan_T                 float32, float64: a NaN wins
 *   tl_isnan_T  tl_isinf_T  tl_isfinite_T      float32, float64
 *   tl_F_to_T(x)                               F float32, float64: truncates, saturates, NaN -> 0
 *   tl_clz_T  tl_popcount_T                    uint32, uint64; clz of 0 is the width */
#ifndef TL_ARITH_H
#define TL_ARITH_H

#include "types.h"

#define TL_DEFINE_SIGNED(T)                                   \
  TL_INLINE T##_t tl_floordiv_##T(T##_t a, T##_t b) {         \
    const T##_t q = (T##_t)(a / b), r = (T##_t)(a % b);       \
    return (T##_t)(q - (r != 0 && (r ^ b) < 0));              \
  }                                                           \
  TL_INLINE T##_t tl_floormod_##T(T##_t a, T##_t b) {         \
    const T##_t r = (T##_t)(a % b);                           \
    return (T##_t)(r + (r != 0 && (r ^ b) < 0 ? b : 0));      \
  }
#define TL_DEFINE_UNSIGNED(T)                                                  \
  TL_INLINE T##_t tl_floordiv_##T(T##_t a, T##_t b) { return (T##_t)(a / b); } \
  TL_INLINE T##_t tl_floormod_##T(T##_t a, T##_t b) { return (T##_t)(a % b); }

TL_DEFINE_SIGNED(int8)
TL_DEFINE_SIGNED(int16)
TL_DEFINE_SIGNED(int32)
TL_DEFINE_SIGNED(int64)
TL_DEFINE_UNSIGNED(uint8)
TL_DEFINE_UNSIGNED(uint16)
TL_DEFINE_UNSIGNED(uint32)
TL_DEFINE_UNSIGNED(uint64)

/* Bits, not comparisons: right under flags that assume there is no NaN. */
TL_INLINE bool tl_isnan_float32(float x) { return (__float_as_uint(x) << 1) > 0xff000000u; }
TL_INLINE bool tl_isinf_float32(float x) { return (__float_as_uint(x) << 1) == 0xff000000u; }
TL_INLINE bool tl_isfinite_float32(float x) { return (__float_as_uint(x) << 1) < 0xff000000u; }
TL_INLINE bool tl_isnan_float64(double x) {
  return (tl_float64_to_bits(x) << 1) > 0xffe0000000000000ULL;
}
TL_INLINE bool tl_isinf_float64(double x) {
  return (tl_float64_to_bits(x) << 1) == 0xffe0000000000000ULL;
}
TL_INLINE bool tl_isfinite_float64(double x) {
  return (tl_float64_to_bits(x) << 1) < 0xffe0000000000000ULL;
}

TL_INLINE float tl_max_num_float32(float a, float b) { return fmaxf(a, b); }
TL_INLINE float tl_min_num_float32(float a, float b) { return fminf(a, b); }
TL_INLINE double tl_max_num_float64(double a, double b) { return fmax(a, b); }
TL_INLINE double tl_min_num_float64(double a, double b) { return fmin(a, b); }

#if __CUDA_ARCH__ >= 800
TL_INLINE float tl_max_nan_float32(float a, float b) {
  float d;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(d) : "f"(a), "f"(b));
  return d;
}
TL_INLINE float tl_min_nan_float32(float a, float b) {
  float d;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(d) : "f"(a), "f"(b));
  return d;
}
#else
TL_INLINE float tl_max_nan_float32(float a, float b) {
  return tl_isnan_float32(a) ? a : tl_isnan_float32(b) ? b : fmaxf(a, b);
}
TL_INLINE float tl_min_nan_float32(float a, float b) {
  return tl_isnan_float32(a) ? a : tl_isnan_float32(b) ? b : fminf(a, b);
}
#endif
TL_INLINE double tl_max_nan_float64(double a, double b) {
  return tl_isnan_float64(a) ? a : tl_isnan_float64(b) ? b : fmax(a, b);
}
TL_INLINE double tl_min_nan_float64(double a, double b) {
  return tl_isnan_float64(a) ? a : tl_isnan_float64(b) ? b : fmin(a, b);
}

TL_INLINE float tl_floordiv_float32(float a, float b) { return floorf(a / b); }
TL_INLINE double tl_floordiv_float64(double a, double b) { return floor(a / b); }
TL_INLINE float tl_floormod_float32(float a, float b) {
  const float r = fmodf(a, b);
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
TL_INLINE double tl_floormod_float64(double a, double b) {
  const double r = fmod(a, b);
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

/* The conversion instruction saturates; NaN becomes 0 only from float32 to 32 bits. */
#define TL_DEFINE_CAST(F, C, T, convert) \
  TL_INLINE T##_t tl_##F##_to_##T(C x) { return tl_isnan_##F(x) ? 0 : (T##_t)convert(x); }
TL_DEFINE_CAST(float32, float, int32, __float2int_rz)
TL_DEFINE_CAST(float32, float, uint32, __float2uint_rz)
TL_DEFINE_CAST(float32, float, int64, __float2ll_rz)
TL_DEFINE_CAST(float32, float, uint64, __float2ull_rz)
TL_DEFINE_CAST(float64, double, int32, __double2int_rz)
TL_DEFINE_CAST(float64, double, uint32, __double2uint_rz)
TL_DEFINE_CAST(float64, double, int64, __double2ll_rz)
TL_DEFINE_CAST(float64, double, uint64, __double2ull_rz)
#define TL_DEFINE_NARROW_CAST(F, C, T, low, high)                  \
  TL_INLINE T##_t tl_##F##_to_##T(C x) {                           \
    return (T##_t)max(low, min(high, tl_##F##_to_int32(x)));       \
  }
#define TL_DEFINE_NARROW_CASTS(F, C)                        \
  TL_DEFINE_NARROW_CAST(F, C, int8, INT8_MIN, INT8_MAX)     \
  TL_DEFINE_NARROW_CAST(F, C, int16, INT16_MIN, INT16_MAX)  \
  TL_DEFINE_NARROW_CAST(F, C, uint8, 0, UINT8_MAX)          \
  TL_DEFINE_NARROW_CAST(F, C, uint16, 0, UINT16_MAX)
TL_DEFINE_NARROW_CASTS(float32, float)
TL_DEFINE_NARROW_CASTS(float64, double)

TL_INLINE int32_t tl_clz_uint32(uint32_t x) { return __clz((int)x); }
TL_INLINE int32_t tl_clz_uint64(uint64_t x) { return __clzll((long long)x); }
TL_INLINE int32_t tl_popcount_uint32(uint32_t x) { return __popc(x); }
TL_INLINE int32_t tl_popcount_uint64(uint64_t x) { return __popcll(x); }

#endif
