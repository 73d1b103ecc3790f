/* Arithmetic that rounds in a given direction: FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO.
 *
 * tl_ieee_{add,sub,mul,fdiv}_T(x, y, direction), _fmaf_T(x, y, z, d), _{frcp,fsqrt,frsqrt}_T(x, d)
 * Operands and result pass through memory, so that no compiler moves the operation out of the
 * stretch in which the direction is set. Slow; for kernels that compare rounding modes. */
#ifndef TL_IEEE_H
#define TL_IEEE_H

#include <fenv.h>

#define TL_DEFINE_IEEE(name, T, C, params, expression)                               \
  static __attribute__((noinline, unused)) C tl_ieee_##name##_##T params {           \
    const int before = fegetround();                                                 \
    fesetround(direction);                                                           \
    volatile C result = expression;                                                  \
    fesetround(before);                                                              \
    return result;                                                                   \
  }
#define TL_DEFINE_IEEE_ALL(T, C, s)                                                                \
  TL_DEFINE_IEEE(add, T, C, (volatile C x, volatile C y, int direction), x + y)                    \
  TL_DEFINE_IEEE(sub, T, C, (volatile C x, volatile C y, int direction), x - y)                    \
  TL_DEFINE_IEEE(mul, T, C, (volatile C x, volatile C y, int direction), x * y)                    \
  TL_DEFINE_IEEE(fdiv, T, C, (volatile C x, volatile C y, int direction), x / y)                   \
  TL_DEFINE_IEEE(fmaf, T, C, (volatile C x, volatile C y, volatile C z, int direction),            \
                 __builtin_fma##s(x, y, z))                                                        \
  TL_DEFINE_IEEE(frcp, T, C, (volatile C x, int direction), 1 / x)                                 \
  TL_DEFINE_IEEE(fsqrt, T, C, (volatile C x, int direction), __builtin_sqrt##s(x))                 \
  TL_DEFINE_IEEE(frsqrt, T, C, (volatile C x, int direction), (C)(1 / __builtin_sqrt((double)x)))
TL_DEFINE_IEEE_ALL(float32, float, f)
TL_DEFINE_IEEE_ALL(float64, double, )

#endif
