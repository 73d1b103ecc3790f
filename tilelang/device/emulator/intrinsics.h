/* CUDA's built-in functions that device headers and generated text call, for the host compiler.
 *
 * Those without side effect: bit casts, bit counts, conversions, rounded arithmetic, elementary
 * functions of the C library. `__<operation>_r{n,u,d,z}` are calls of the runtime that set the
 * rounding direction around one operation. */
#ifndef TL_EMU_INTRINSICS_H
#define TL_EMU_INTRINSICS_H

#define TL_EMU_INLINE static inline __attribute__((always_inline, unused))
#define TL_EMU_CAST(name, To, From)         \
  TL_EMU_INLINE To name(From x) {           \
    To y;                                   \
    __builtin_memcpy(&y, &x, sizeof(y));    \
    return y;                               \
  }
TL_EMU_CAST(__uint_as_float, float, unsigned int)
TL_EMU_CAST(__int_as_float, float, int)
TL_EMU_CAST(__float_as_uint, unsigned int, float)
TL_EMU_CAST(__float_as_int, int, float)
TL_EMU_CAST(__longlong_as_double, double, long long)
TL_EMU_CAST(__double_as_longlong, long long, double)

/* ---- integers -------------------------------------------------------------------------------- */

TL_EMU_INLINE int __ffs(int x) { return __builtin_ffs(x); }
TL_EMU_INLINE int __ffsll(long long x) { return __builtin_ffsll(x); }
TL_EMU_INLINE int __popc(unsigned int x) { return __builtin_popcount(x); }
TL_EMU_INLINE int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
TL_EMU_INLINE int __clz(int x) { return x ? __builtin_clz((unsigned int)x) : 32; }
TL_EMU_INLINE int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
TL_EMU_INLINE int __dp4a(int a, int b, int c) {
  unsigned int sum = (unsigned int)c;
  for (int i = 0; i < 32; i += 8)
    sum += (unsigned int)((int)(signed char)(a >> i) * (int)(signed char)(b >> i));
  return (int)sum;
}
TL_EMU_INLINE unsigned int __dp4a(unsigned int a, unsigned int b, unsigned int c) {
  for (int i = 0; i < 32; i += 8) c += (a >> i & 0xff) * (b >> i & 0xff);
  return c;
}

#define TL_EMU_EXTREMA(T)                                    \
  TL_EMU_INLINE T max(T a, T b) { return a > b ? a : b; }    \
  TL_EMU_INLINE T min(T a, T b) { return a < b ? a : b; }
TL_EMU_EXTREMA(int)
TL_EMU_EXTREMA(unsigned int)
TL_EMU_EXTREMA(long long)
TL_EMU_EXTREMA(unsigned long long)
TL_EMU_INLINE float max(float a, float b) { return __builtin_fmaxf(a, b); }
TL_EMU_INLINE float min(float a, float b) { return __builtin_fminf(a, b); }
TL_EMU_INLINE double max(double a, double b) { return __builtin_fmax(a, b); }
TL_EMU_INLINE double min(double a, double b) { return __builtin_fmin(a, b); }

/* Float to integer as the conversion instruction does: truncates and saturates; NaN gives 0 (the
 * callers test for it). `end` is the largest value + 1, exact in either float type. */
#define TL_EMU_CONVERT(name, F, T, low, end, smallest, largest)           \
  TL_EMU_INLINE T name(F x) {                                             \
    if (!(x > (F)(low))) return x != x ? 0 : (T)(smallest);               \
    return x >= (F)(end) ? (T)(largest) : (T)x;                           \
  }
#define TL_EMU_CONVERSIONS(prefix, F)                                                       \
  TL_EMU_CONVERT(prefix##2int_rz, F, int, -0x1p31, 0x1p31, -2147483647 - 1, 2147483647)     \
  TL_EMU_CONVERT(prefix##2uint_rz, F, unsigned int, 0, 0x1p32, 0, 4294967295u)              \
  TL_EMU_CONVERT(prefix##2ll_rz, F, long long, -0x1p63, 0x1p63, -0x7fffffffffffffffLL - 1,  \
                 0x7fffffffffffffffLL)                                                      \
  TL_EMU_CONVERT(prefix##2ull_rz, F, unsigned long long, 0, 0x1p64, 0, ~0ULL)
TL_EMU_CONVERSIONS(__float, float)
TL_EMU_CONVERSIONS(__double, double)

/* ---- floating point -------------------------------------------------------------------------- */

#define TL_EMU_DIRECTIONS(name, R, params)                                                    \
  extern "C" R name##_rn params;                                                              \
  extern "C" R name##_ru params;                                                              \
  extern "C" R name##_rd params;                                                              \
  extern "C" R name##_rz params;
#include "rounded.h"
#undef TL_EMU_DIRECTIONS

#define TL_EMU_LIBM_1(name)      \
  extern "C" float name##f(float); \
  extern "C" double name(double);
#define TL_EMU_LIBM_2(name)               \
  extern "C" float name##f(float, float); \
  extern "C" double name(double, double);
TL_EMU_LIBM_1(exp) TL_EMU_LIBM_1(exp2) TL_EMU_LIBM_1(expm1) TL_EMU_LIBM_1(log)
TL_EMU_LIBM_1(log2) TL_EMU_LIBM_1(log10) TL_EMU_LIBM_1(log1p) TL_EMU_LIBM_1(sin)
TL_EMU_LIBM_1(cos) TL_EMU_LIBM_1(tan) TL_EMU_LIBM_1(asin) TL_EMU_LIBM_1(acos)
TL_EMU_LIBM_1(atan) TL_EMU_LIBM_1(sinh) TL_EMU_LIBM_1(cosh) TL_EMU_LIBM_1(tanh)
TL_EMU_LIBM_1(asinh) TL_EMU_LIBM_1(acosh) TL_EMU_LIBM_1(atanh) TL_EMU_LIBM_1(erf)
TL_EMU_LIBM_1(erfc) TL_EMU_LIBM_1(lgamma) TL_EMU_LIBM_1(tgamma) TL_EMU_LIBM_1(cbrt)
TL_EMU_LIBM_1(sqrt) TL_EMU_LIBM_1(fabs) TL_EMU_LIBM_1(floor) TL_EMU_LIBM_1(ceil)
TL_EMU_LIBM_1(trunc) TL_EMU_LIBM_1(round) TL_EMU_LIBM_1(nearbyint) TL_EMU_LIBM_1(rint)
TL_EMU_LIBM_2(pow) TL_EMU_LIBM_2(atan2) TL_EMU_LIBM_2(fmod) TL_EMU_LIBM_2(hypot)
TL_EMU_LIBM_2(copysign) TL_EMU_LIBM_2(nextafter) TL_EMU_LIBM_2(fmax) TL_EMU_LIBM_2(fmin)
extern "C" float fmaf(float, float, float);
extern "C" double fma(double, double, double);
extern "C" float ldexpf(float, int);
extern "C" double ldexp(double, int);
TL_EMU_INLINE float rsqrtf(float x) { return (float)(1 / __builtin_sqrt((double)x)); }
TL_EMU_INLINE double rsqrt(double x) { return 1 / __builtin_sqrt(x); }
TL_EMU_INLINE float exp10f(float x) { return (float)__builtin_pow(10.0, (double)x); }
TL_EMU_INLINE double exp10(double x) { return __builtin_pow(10.0, x); }
TL_EMU_INLINE int abs(int x) { return x < 0 ? -x : x; }

#endif
