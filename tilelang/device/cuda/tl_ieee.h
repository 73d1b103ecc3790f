/* Arithmetic that rounds in a given direction: FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO.
 *
 * tl_ieee_{add,sub,mul,fdiv}_T(x, y, direction), _fmaf_T(x, y, z, d), _{frcp,fsqrt,frsqrt}_T(x, d)
 * T float32, float64. `direction` is a constant: one instruction (or the library's exact sequence
 * for divisions and roots) is left. Flags for fast mathematics do not change these. */
#ifndef TL_IEEE_H
#define TL_IEEE_H

#include "types.h"

#define FE_TONEAREST 0
#define FE_DOWNWARD 1
#define FE_UPWARD 2
#define FE_TOWARDZERO 3

#define TL_DEFINE_IEEE(name, T, C, params, function, args)      \
  TL_INLINE C tl_ieee_##name##_##T params {                     \
    return direction == FE_UPWARD       ? function##_ru args    \
           : direction == FE_DOWNWARD   ? function##_rd args    \
           : direction == FE_TOWARDZERO ? function##_rz args    \
                                        : function##_rn args;   \
  }

TL_DEFINE_IEEE(add, float32, float, (float x, float y, int direction), __fadd, (x, y))
TL_DEFINE_IEEE(sub, float32, float, (float x, float y, int direction), __fsub, (x, y))
TL_DEFINE_IEEE(mul, float32, float, (float x, float y, int direction), __fmul, (x, y))
TL_DEFINE_IEEE(fdiv, float32, float, (float x, float y, int direction), __fdiv, (x, y))
TL_DEFINE_IEEE(fmaf, float32, float, (float x, float y, float z, int direction), __fmaf, (x, y, z))
TL_DEFINE_IEEE(frcp, float32, float, (float x, int direction), __frcp, (x))
TL_DEFINE_IEEE(fsqrt, float32, float, (float x, int direction), __fsqrt, (x))
TL_DEFINE_IEEE(add, float64, double, (double x, double y, int direction), __dadd, (x, y))
TL_DEFINE_IEEE(sub, float64, double, (double x, double y, int direction), __dsub, (x, y))
TL_DEFINE_IEEE(mul, float64, double, (double x, double y, int direction), __dmul, (x, y))
TL_DEFINE_IEEE(fdiv, float64, double, (double x, double y, int direction), __ddiv, (x, y))
TL_DEFINE_IEEE(fmaf, float64, double, (double x, double y, double z, int direction), __fma,
               (x, y, z))
TL_DEFINE_IEEE(frcp, float64, double, (double x, int direction), __drcp, (x))
TL_DEFINE_IEEE(fsqrt, float64, double, (double x, int direction), __dsqrt, (x))

/* The root and the quotient round in the same direction, as on the CPU target. */
TL_INLINE double tl_ieee_frsqrt_float64(double x, int direction) {
  return tl_ieee_frcp_float64(tl_ieee_fsqrt_float64(x, direction), direction);
}

TL_DEFINE_IEEE(narrow, float32, float, (double x, int direction), __double2float, (x))

TL_INLINE float tl_ieee_frsqrt_float32(float x, int direction) {
  return tl_ieee_narrow_float32(tl_ieee_frsqrt_float64((double)x, direction), direction);
}

#endif
