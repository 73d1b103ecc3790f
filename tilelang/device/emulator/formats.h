/* Small floating-point formats by arithmetic, in the compiler's own types: for `types.h`, which
 * generated text includes, and for the runtime, which includes system headers. */
#ifndef TL_EMU_FORMATS_H
#define TL_EMU_FORMATS_H

#define TL_FORMAT_INLINE static inline __attribute__((always_inline, unused))

TL_FORMAT_INLINE float tl_emu_float_of(unsigned int bits) {
  float x;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}

TL_FORMAT_INLINE unsigned int tl_emu_bits_of(float x) {
  unsigned int bits;
  __builtin_memcpy(&bits, &x, 4);
  return bits;
}

enum tl_special {  /* what the codes outside the finite numbers mean */
  TL_FINITE_ONLY,  /* nothing: every code is a number */
  TL_IEEE,         /* exponent all ones: infinity, NaN */
  TL_FN,           /* all ones below the sign: NaN */
  TL_FNUZ          /* the code of -0: NaN */
};

/* E exponent bits, M mantissa bits. A subnormal is 2^emin (1 + mag / 2^M) - 2^emin, exact. */
template <int E, int M, int BIAS, tl_special SPECIAL>
TL_FORMAT_INLINE float tl_decode_float(unsigned int code) {
  constexpr unsigned int all = (1u << (E + M)) - 1, inf = ((1u << E) - 1) << M;
  constexpr unsigned int emin = (unsigned int)(128 - BIAS) << 23;
  const unsigned int mag = code & all, sign = (code >> (E + M) & 1) << 31;
  const unsigned int wide = mag << (23 - M);
  const float tiny = tl_emu_float_of(wide + emin) - tl_emu_float_of(emin);
  unsigned int bits =
      mag >> M ? wide + ((unsigned int)(127 - BIAS) << 23) : tl_emu_bits_of(tiny);
  if (SPECIAL == TL_IEEE && mag >= inf) bits = 0x7f800000u | wide;
  if (SPECIAL == TL_FN && mag == all) bits = 0x7fc00000u;
  if (SPECIAL == TL_FNUZ && sign && mag == 0) bits = 0x7fc00000u;
  return tl_emu_float_of(bits | sign);
}

/* LARGEST: code of the largest finite number; BEYOND: what larger ones become. Normal range: half of
 * the last kept bit is added in integers. Below: adding a float whose last bit weighs one subnormal
 * step rounds. */
template <int E, int M, int BIAS, tl_special SPECIAL, unsigned int LARGEST, unsigned int BEYOND>
TL_FORMAT_INLINE unsigned int tl_encode_float(float x) {
  constexpr unsigned int step = (unsigned int)(1 - BIAS - M + 23 + 127) << 23, top = 1u << (E + M);
  constexpr unsigned int nan = SPECIAL == TL_FN ? top - 1 : ((1u << E) - 1) << M | 1u << (M - 1);
  const unsigned int u = tl_emu_bits_of(x), a = u & 0x7fffffffu, sign = u >> 31 ? top : 0;
  if (a > 0x7f800000u)
    return SPECIAL == TL_FNUZ ? top : SPECIAL == TL_FINITE_ONLY ? LARGEST : nan | sign;
  const unsigned int rounded = a + ((1u << (22 - M)) - 1) + (a >> (23 - M) & 1);
  const unsigned int normal = (rounded >> (23 - M)) - ((unsigned int)(127 - BIAS) << M);
  const unsigned int small = tl_emu_bits_of(tl_emu_float_of(a) + tl_emu_float_of(step)) - step;
  unsigned int code = a < ((unsigned int)(128 - BIAS) << 23) ? small : normal;
  code = a < 0x7f800000u && code <= LARGEST ? code : BEYOND;
  return SPECIAL == TL_FNUZ && code == 0 ? 0 : code | sign;
}

TL_FORMAT_INLINE float tl_emu_decode_float16(unsigned short x) {
  return tl_decode_float<5, 10, 15, TL_IEEE>(x);
}
TL_FORMAT_INLINE unsigned short tl_emu_encode_float16(float x) {
  return (unsigned short)tl_encode_float<5, 10, 15, TL_IEEE, 0x7bff, 0x7c00>(x);
}
TL_FORMAT_INLINE float tl_emu_decode_bfloat16(unsigned short x) {
  return tl_emu_float_of((unsigned int)x << 16);
}
TL_FORMAT_INLINE unsigned short tl_emu_encode_bfloat16(float x) {
  const unsigned int u = tl_emu_bits_of(x), rounded = (u + 0x7fff + (u >> 16 & 1)) >> 16;
  return (unsigned short)((u & 0x7fffffffu) > 0x7f800000u ? 0x7fff : rounded);
}

#endif
