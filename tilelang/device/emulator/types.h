/* Fixed-width integers, bit casts, and the small floating-point formats: the functions of the CUDA
 * header of the same name, in portable C++. */
#ifndef TL_TYPES_H
#define TL_TYPES_H

#include "emulator.h"
#include "formats.h"

#define TL_INLINE static inline __attribute__((always_inline, unused))

#include "../scalar/fixed_width.h"

TL_INLINE float tl_bits_to_float32(uint32_t bits) { return __uint_as_float(bits); }
TL_INLINE uint32_t tl_float32_to_bits(float x) { return __float_as_uint(x); }
TL_INLINE double tl_bits_to_float64(uint64_t bits) { return __longlong_as_double((int64_t)bits); }
TL_INLINE uint64_t tl_float64_to_bits(double x) { return (uint64_t)__double_as_longlong(x); }

#define TL_DEFINE_FORMAT(name, E, M, BIAS, SPECIAL, LARGEST)                           \
  TL_INLINE float tl_##name##_to_float32(tl_##name x) {                                \
    return tl_decode_float<E, M, BIAS, SPECIAL>(x);                                    \
  }                                                                                    \
  TL_INLINE tl_##name tl_float32_to_##name(float x) {                                  \
    return (tl_##name)tl_encode_float<E, M, BIAS, SPECIAL, LARGEST, LARGEST>(x);       \
  }

TL_DEFINE_FORMAT(float8_e3m4, 3, 4, 3, TL_IEEE, 0x6f)
TL_DEFINE_FORMAT(float8_e4m3, 4, 3, 7, TL_FN, 0x7e)
TL_DEFINE_FORMAT(float8_e4m3fn, 4, 3, 7, TL_FN, 0x7e)
TL_DEFINE_FORMAT(float8_e4m3fnuz, 4, 3, 8, TL_FNUZ, 0x7f)
TL_DEFINE_FORMAT(float8_e4m3b11fnuz, 4, 3, 11, TL_FNUZ, 0x7f)
TL_DEFINE_FORMAT(float8_e5m2, 5, 2, 15, TL_IEEE, 0x7b)
TL_DEFINE_FORMAT(float8_e5m2fnuz, 5, 2, 16, TL_FNUZ, 0x7f)
TL_DEFINE_FORMAT(float6_e2m3fn, 2, 3, 1, TL_FINITE_ONLY, 0x1f)
TL_DEFINE_FORMAT(float6_e3m2fn, 3, 2, 3, TL_FINITE_ONLY, 0x1f)
TL_DEFINE_FORMAT(float4_e2m1fn, 2, 1, 1, TL_FINITE_ONLY, 0x7)

TL_INLINE float tl_float16_to_float32(tl_float16 x) { return tl_emu_decode_float16(x); }
TL_INLINE tl_float16 tl_float32_to_float16(float x) { return tl_emu_encode_float16(x); }
TL_INLINE float tl_bfloat16_to_float32(tl_bfloat16 x) { return tl_emu_decode_bfloat16(x); }
TL_INLINE tl_bfloat16 tl_float32_to_bfloat16(float x) { return tl_emu_encode_bfloat16(x); }

#include "../scalar/e8m0.h"

TL_INLINE float tl_float32_to_tfloat32(float x) {
  const uint32_t u = __float_as_uint(x);
  return (u & 0x7f800000u) == 0x7f800000u ? x : __uint_as_float((u + 0x1000u) & 0xffffe000u);
}

/* ---- 4-bit values, two per byte, the even index in the low half ------------------------------ */

/* A byte that may have no value yet: this read is not checked. */
static __attribute__((noinline, unused, no_sanitize_thread)) uint8_t tl_emu_byte(const uint8_t *p) {
  return *p;
}

/* For memory of one thread. */
TL_INLINE void tl_nibble_set(uint8_t *p, int64_t i, uint8_t x) {
  const int shift = (int)(i & 1) * 4;
  p[i >> 1] = (uint8_t)((tl_emu_byte(p + (i >> 1)) & (0xf0 >> shift)) | ((x & 0xf) << shift));
}

#include "../scalar/nibble.h"

#endif
