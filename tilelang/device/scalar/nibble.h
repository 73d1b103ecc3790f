/* 4-bit values, two per byte, the even index in the low half; in the C that a CUDA compiler takes
 * too. A target's `types.h` includes this after its `tl_nibble_set(p, i, x)`, which leaves the other
 * half of the byte as it is: not for two threads on the two halves of one byte. */
#ifndef TL_SCALAR_NIBBLE_H
#define TL_SCALAR_NIBBLE_H

TL_INLINE uint8_t tl_nibble_get(const uint8_t *p, int64_t i) {
  return (uint8_t)((p[i >> 1] >> ((i & 1) * 4)) & 0xf);
}

TL_INLINE uint8_t tl_uint4_get(const uint8_t *p, int64_t i) { return tl_nibble_get(p, i); }
TL_INLINE int8_t tl_int4_get(const uint8_t *p, int64_t i) {
  return (int8_t)((int8_t)(tl_nibble_get(p, i) << 4) >> 4);
}
TL_INLINE void tl_uint4_set(uint8_t *p, int64_t i, int32_t x) { tl_nibble_set(p, i, (uint8_t)x); }
TL_INLINE void tl_int4_set(uint8_t *p, int64_t i, int32_t x) { tl_nibble_set(p, i, (uint8_t)x); }

#endif
