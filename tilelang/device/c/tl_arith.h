/* Integer and comparison arithmetic whose C operators mean something else, or mean nothing at the
 * edges: floor division, minimum and maximum with NaN, float to integer, bit counts. Branch-free;
 * compiles alone.
 *
 *   tl_floordiv_T(a, b)  tl_floormod_T(a, b)   T any (u)int8..64, float32, float64; b != 0
 *   tl_max_num_T  tl_min_num_T                 float32, float64: a NaN loses against a number
 *   tl_max_nan_T  tl_min_nan_T                 float32, float64: a NaN wins
 *   tl_F_to_T(x)                               F float32, float64: truncates, saturates, NaN -> 0
 *   tl_clz_T  tl_popcount_T                    uint32, uint64; clz of 0 is the width */
#ifndef TL_ARITH_H
#define TL_ARITH_H

#include "types.h"

#define TL_DEFINE_SIGNED(T)                                   \
  TL_INLINE T##_t tl_floordiv_##T(T##_t a, T##_t b) {         \
    const T##_t q = (T##_t)(a / b), r = (T##_t)(a % b);       \
    return (T##_t)(q - ((r != 0) & ((r ^ b) < 0)));           \
  }                                                           \
  TL_INLINE T##_t tl_floormod_##T(T##_t a, T##_t b) {         \
    const T##_t r = (T##_t)(a % b);                           \
    return (T##_t)(r + (((r != 0) & ((r ^ b) < 0)) ? b : 0)); \
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

#define TL_DEFINE_FLOAT_ARITH(T, C, s)                                          \
  TL_INLINE C tl_max_num_##T(C a, C b) { return ((a > b) | (b != b)) ? a : b; } \
  TL_INLINE C tl_min_num_##T(C a, C b) { return ((a < b) | (b != b)) ? a : b; } \
  TL_INLINE C tl_max_nan_##T(C a, C b) { return ((a > b) | (a != a)) ? a : b; } \
  TL_INLINE C tl_min_nan_##T(C a, C b) { return ((a < b) | (a != a)) ? a : b; } \
  TL_INLINE C tl_floordiv_##T(C a, C b) { return __builtin_floor##s(a / b); }   \
  TL_INLINE C tl_floormod_##T(C a, C b) {                                       \
    const C r = __builtin_fmod##s(a, b);                                        \
    return ((r != 0) & ((r < 0) != (b < 0))) ? r + b : r;                       \
  }                                                                             \
  TL_INLINE int tl_isnan_##T(C x) { return x != x; }                            \
  TL_INLINE int tl_isfinite_##T(C x) { return x - x == 0; }                     \
  TL_INLINE int tl_isinf_##T(C x) { return (x == x) & (x - x != 0); }
TL_DEFINE_FLOAT_ARITH(float32, float, f)
TL_DEFINE_FLOAT_ARITH(float64, double, )

/* `low` and `end` = largest + 1 are powers of two (or 0), hence exact in either float type; what is
 * converted lies strictly between, so the conversion is defined. */
#define TL_DEFINE_CAST(F, C, T, low, end, smallest, largest)                         \
  TL_INLINE T##_t tl_##F##_to_##T(C x) {                                             \
    const C inside = ((x > (C)(low)) & (x < (C)(end))) ? x : 0;                      \
    const T##_t y = (T##_t)inside;                                                   \
    return x >= (C)(end) ? (T##_t)(largest) : x <= (C)(low) ? (T##_t)(smallest) : y; \
  }
#define TL_DEFINE_CASTS(F, C)                                        \
  TL_DEFINE_CAST(F, C, int8, -0x1p7, 0x1p7, INT8_MIN, INT8_MAX)      \
  TL_DEFINE_CAST(F, C, int16, -0x1p15, 0x1p15, INT16_MIN, INT16_MAX) \
  TL_DEFINE_CAST(F, C, int32, -0x1p31, 0x1p31, INT32_MIN, INT32_MAX) \
  TL_DEFINE_CAST(F, C, int64, -0x1p63, 0x1p63, INT64_MIN, INT64_MAX) \
  TL_DEFINE_CAST(F, C, uint8, 0, 0x1p8, 0, UINT8_MAX)                \
  TL_DEFINE_CAST(F, C, uint16, 0, 0x1p16, 0, UINT16_MAX)             \
  TL_DEFINE_CAST(F, C, uint32, 0, 0x1p32, 0, UINT32_MAX)             \
  TL_DEFINE_CAST(F, C, uint64, 0, 0x1p64, 0, UINT64_MAX)
TL_DEFINE_CASTS(float32, float)
TL_DEFINE_CASTS(float64, double)

TL_INLINE int32_t tl_clz_uint32(uint32_t x) { return x ? __builtin_clz(x) : 32; }
TL_INLINE int32_t tl_clz_uint64(uint64_t x) { return x ? __builtin_clzll(x) : 64; }
TL_INLINE int32_t tl_popcount_uint32(uint32_t x) { return __builtin_popcount(x); }
TL_INLINE int32_t tl_popcount_uint64(uint64_t x) { return __builtin_popcountll(x); }

#endif
