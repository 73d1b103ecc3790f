/* Lanes of a warp: the functions of the CUDA header of the same name. The lanes of a mask meet in
 * the runtime. */
#ifndef TL_WARP_H
#define TL_WARP_H

#include "types.h"

enum tl_emu_shuffle_kind { TL_EMU_INDEX, TL_EMU_XOR, TL_EMU_UP, TL_EMU_DOWN };
enum tl_emu_reduction { TL_EMU_SUM, TL_EMU_MAX, TL_EMU_MIN, TL_EMU_AND, TL_EMU_OR, TL_EMU_BITXOR };

extern "C" {
uint64_t tl_emu_shuffle(int kind, uint32_t mask, uint64_t x, int32_t lane, int32_t width);
uint32_t tl_emu_match(uint32_t mask, uint64_t x, int all);
int64_t tl_emu_reduce(int kind, int64_t x);
uint32_t tl_ballot_sync(uint32_t mask, bool p);
uint32_t tl_activemask(void);
int32_t tl_lane_id(void);
int32_t tl_warp_id(void);
bool tl_elect_sync(uint32_t mask);
}

TL_INLINE int32_t tl_any_sync(uint32_t mask, bool p) { return tl_ballot_sync(mask, p) != 0; }
TL_INLINE int32_t tl_all_sync(uint32_t mask, bool p) { return tl_ballot_sync(mask, !p) == 0; }
TL_INLINE int32_t tl_warp_uniform(int32_t x) {
  return (int32_t)tl_emu_shuffle(TL_EMU_INDEX, 0xffffffffu, (uint32_t)x, 0, 32);
}

template <class To, class From>
TL_INLINE To tl_emu_cast(From x) {
  To y = 0;
  __builtin_memcpy(&y, &x, sizeof(x) < sizeof(y) ? sizeof(x) : sizeof(y));
  return y;
}

#define TL_WARP_SHUFFLE(name, kind, T, C)                                                \
  TL_INLINE C tl_shfl##name##_##T(uint32_t mask, C x, int32_t lane, int32_t width) {     \
    return tl_emu_cast<C>(tl_emu_shuffle(kind, mask, tl_emu_cast<uint64_t>(x), lane, width)); \
  }
#define TL_WARP_MOVES(T, C)                                                              \
  TL_WARP_SHUFFLE(, TL_EMU_INDEX, T, C)                                                  \
  TL_WARP_SHUFFLE(_xor, TL_EMU_XOR, T, C)                                                \
  TL_WARP_SHUFFLE(_up, TL_EMU_UP, T, C)                                                  \
  TL_WARP_SHUFFLE(_down, TL_EMU_DOWN, T, C)                                              \
  TL_INLINE uint32_t tl_match_any_sync_##T(uint32_t mask, C x) {                         \
    return tl_emu_match(mask, tl_emu_cast<uint64_t>(x), 0);                              \
  }                                                                                      \
  TL_INLINE uint32_t tl_match_all_sync_##T(uint32_t mask, C x) {                         \
    return tl_emu_match(mask, tl_emu_cast<uint64_t>(x), 1);                              \
  }

/* Up to 32 bits one instruction does it; wider ones and floats exchange halves, in this order. */
#define TL_WARP_REDUX(name, kind, T, C) \
  TL_INLINE C tl_warp_reduce_##name##_##T(C a) { return (C)tl_emu_reduce(kind, (int64_t)a); }
#define TL_WARP_BUTTERFLY(name, T, C, expression)                                     \
  TL_INLINE C tl_warp_reduce_##name##_##T(C a) {                                      \
    for (int n = 16; n > 0; n /= 2) {                                                 \
      const C b = tl_shfl_xor_##T(0xffffffffu, a, n, 32);                             \
      a = (C)(expression);                                                            \
    }                                                                                 \
    return a;                                                                         \
  }
#define TL_WARP_ARITHMETIC(T, C, MAX, MIN)                                            \
  TL_WARP_BUTTERFLY(sum, T, C, a + b)                                                 \
  TL_WARP_BUTTERFLY(max, T, C, MAX)                                                   \
  TL_WARP_BUTTERFLY(min, T, C, MIN)
#define TL_WARP_INTEGER(T)                               \
  TL_WARP_MOVES(T, T##_t)                                \
  TL_WARP_REDUX(sum, TL_EMU_SUM, T, T##_t)               \
  TL_WARP_REDUX(max, TL_EMU_MAX, T, T##_t)               \
  TL_WARP_REDUX(min, TL_EMU_MIN, T, T##_t)               \
  TL_WARP_REDUX(bitand, TL_EMU_AND, T, T##_t)            \
  TL_WARP_REDUX(bitor, TL_EMU_OR, T, T##_t)              \
  TL_WARP_REDUX(bitxor, TL_EMU_BITXOR, T, T##_t)
#define TL_WARP_INTEGER_64(T)                                                  \
  TL_WARP_MOVES(T, T##_t)                                                      \
  TL_WARP_ARITHMETIC(T, T##_t, a > b ? a : b, a < b ? a : b)                   \
  TL_WARP_BUTTERFLY(bitand, T, T##_t, a & b)                                   \
  TL_WARP_BUTTERFLY(bitor, T, T##_t, a | b)                                    \
  TL_WARP_BUTTERFLY(bitxor, T, T##_t, a ^ b)

TL_WARP_INTEGER(int8)
TL_WARP_INTEGER(int16)
TL_WARP_INTEGER(int32)
TL_WARP_INTEGER(uint8)
TL_WARP_INTEGER(uint16)
TL_WARP_INTEGER(uint32)
TL_WARP_INTEGER_64(int64)
TL_WARP_INTEGER_64(uint64)
TL_WARP_MOVES(float32, float)
TL_WARP_ARITHMETIC(float32, float, __builtin_fmaxf(a, b), __builtin_fminf(a, b))
TL_WARP_MOVES(float64, double)
TL_WARP_ARITHMETIC(float64, double, __builtin_fmax(a, b), __builtin_fmin(a, b))

#endif
