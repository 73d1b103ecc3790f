/* float8_e8m0fnu, 2^(x - 127), in the C that a CUDA compiler takes too. A target's `types.h` includes
 * this after its bit casts. */
#ifndef TL_SCALAR_E8M0_H
#define TL_SCALAR_E8M0_H

TL_INLINE float tl_float8_e8m0fnu_to_float32(tl_float8_e8m0fnu x) {
  const uint32_t bits = x ? (uint32_t)x << 23 : 0x00400000u;
  return tl_bits_to_float32(x == 0xff ? 0x7fc00000u : bits);
}

/* Below 2^-126 only two codes are near, and their midpoint is 1.5 * 2^-127.
 * Ties go up: there is no last mantissa bit that could be even. */
TL_INLINE tl_float8_e8m0fnu tl_float32_to_float8_e8m0fnu(float x) {
  const uint32_t u = tl_float32_to_bits(x), a = u & 0x7fffffffu;
  const uint32_t code = a < 0x00800000u ? (a >= 0x00600000u) : (a + 0x400000u) >> 23;
  const uint32_t limited = code > 254 ? 254 : code;
  return (tl_float8_e8m0fnu)(a > 0x7f800000u || u > 0x80000000u ? 255 : limited);
}

#endif
