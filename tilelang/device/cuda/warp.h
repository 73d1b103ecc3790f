/* Lanes of a warp: who am I, what do the others hold.
 *
 *   tl_lane_id()  tl_warp_id()  tl_elect_sync(mask)       warps count linear thread indices by 32
 *   tl_shfl_T(mask, value, lane, width)                   value of `lane` of the group of `width`
 *   tl_shfl_xor_T, tl_shfl_up_T, tl_shfl_down_T           of lane ^ n, lane - n, lane + n; beyond the
 *                                                         group: one's own
 *   tl_any_sync(mask, p)  tl_all_sync  tl_ballot_sync  tl_activemask()
 *   tl_match_any_sync_T(mask, value)   lanes with the same value
 *   tl_match_all_sync_T(mask, value)   the mask if all are the same, or 0
 *   tl_warp_reduce_{sum,max,min}_T(value)    every lane receives it; of floats, a NaN loses in max, min
 *   tl_warp_reduce_{bitand,bitor,bitxor}_T   integers
 *   tl_warp_uniform(x)                 x of the first lane, known to be the same in all
 *
 * T: int8..int64, uint8..uint64, float32, float64. Lanes of a mask meet here: all must call. */
#ifndef TL_WARP_H
#define TL_WARP_H

#include "types.h"

TL_INLINE int32_t tl_lane_id() {
  uint32_t d;
  asm("mov.u32 %0, %%laneid;" : "=r"(d));
  return (int32_t)d;
}

TL_INLINE int32_t tl_warp_id() {
  return (int32_t)(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) / 32;
}

TL_INLINE int32_t tl_warp_uniform(int32_t x) { return __shfl_sync(0xffffffffu, x, 0); }

/* True in exactly one lane of the mask, which must be the lanes that are here. */
TL_INLINE bool tl_elect_sync(uint32_t mask) {
#if __CUDA_ARCH__ >= 900
  uint32_t d;
  asm volatile(
      "{ .reg .pred p; elect.sync _|p, %1; selp.b32 %0, 1, 0, p; }" : "=r"(d) : "r"(mask));
  return d != 0;
#else
  return tl_lane_id() == __ffs((int)mask) - 1;
#endif
}

TL_INLINE uint32_t tl_activemask() { return __activemask(); }
TL_INLINE int32_t tl_any_sync(uint32_t mask, bool p) { return __any_sync(mask, p) != 0; }
TL_INLINE int32_t tl_all_sync(uint32_t mask, bool p) { return __all_sync(mask, p) != 0; }
TL_INLINE uint32_t tl_ballot_sync(uint32_t mask, bool p) { return __ballot_sync(mask, p); }

/* ---- butterflies: T the name, C the type, W the type that is exchanged ----------------------- */

#define TL_WARP_BUTTERFLY(name, T, C, expression)                                     \
  TL_INLINE C tl_warp_reduce_##name##_##T(C a) {                                      \
    for (int n = 16; n > 0; n /= 2) {                                                 \
      const C b = tl_shfl_xor_##T(0xffffffffu, a, n, 32);                             \
      a = (C)(expression);                                                            \
    }                                                                                 \
    return a;                                                                         \
  }
#define TL_WARP_SHUFFLES(T, C, W)                                                     \
  TL_INLINE C tl_shfl_##T(uint32_t mask, C x, int32_t lane, int32_t width) {          \
    return (C)__shfl_sync(mask, (W)x, lane, width);                                   \
  }                                                                                   \
  TL_INLINE C tl_shfl_xor_##T(uint32_t mask, C x, int32_t n, int32_t width) {         \
    return (C)__shfl_xor_sync(mask, (W)x, n, width);                                  \
  }                                                                                   \
  TL_INLINE C tl_shfl_up_##T(uint32_t mask, C x, int32_t n, int32_t width) {          \
    return (C)__shfl_up_sync(mask, (W)x, (unsigned)n, width);                         \
  }                                                                                   \
  TL_INLINE C tl_shfl_down_##T(uint32_t mask, C x, int32_t n, int32_t width) {        \
    return (C)__shfl_down_sync(mask, (W)x, (unsigned)n, width);                       \
  }                                                                                   \
  TL_INLINE uint32_t tl_match_any_sync_##T(uint32_t mask, C x) {                      \
    return __match_any_sync(mask, (W)x);                                              \
  }                                                                                   \
  TL_INLINE uint32_t tl_match_all_sync_##T(uint32_t mask, C x) {                      \
    int all;                                                                          \
    return __match_all_sync(mask, (W)x, &all);                                        \
  }
#define TL_WARP_ARITHMETIC(T, C, MAX, MIN)                                            \
  TL_WARP_BUTTERFLY(sum, T, C, a + b)                                                 \
  TL_WARP_BUTTERFLY(max, T, C, MAX)                                                   \
  TL_WARP_BUTTERFLY(min, T, C, MIN)
#define TL_WARP_BITS(T, C)                                                            \
  TL_WARP_BUTTERFLY(bitand, T, C, a & b)                                              \
  TL_WARP_BUTTERFLY(bitor, T, C, a | b)                                               \
  TL_WARP_BUTTERFLY(bitxor, T, C, a ^ b)

/* One instruction for 32 bits from sm_80 on; narrower values are widened. */
#define TL_WARP_REDUX(name, T, C, W, function)                                        \
  TL_INLINE C tl_warp_reduce_##name##_##T(C a) {                                      \
    return (C)function(0xffffffffu, (W)a);                                            \
  }
#if __CUDA_ARCH__ >= 800
#define TL_WARP_INTEGER(T, C, W)                                                      \
  TL_WARP_SHUFFLES(T, C, W)                                                           \
  TL_WARP_REDUX(sum, T, C, W, __reduce_add_sync)                                      \
  TL_WARP_REDUX(max, T, C, W, __reduce_max_sync)                                      \
  TL_WARP_REDUX(min, T, C, W, __reduce_min_sync)                                      \
  TL_WARP_REDUX(bitand, T, C, unsigned, __reduce_and_sync)                            \
  TL_WARP_REDUX(bitor, T, C, unsigned, __reduce_or_sync)                              \
  TL_WARP_REDUX(bitxor, T, C, unsigned, __reduce_xor_sync)
#else
#define TL_WARP_INTEGER(T, C, W)                                                      \
  TL_WARP_SHUFFLES(T, C, W)                                                           \
  TL_WARP_ARITHMETIC(T, C, a > b ? a : b, a < b ? a : b)                              \
  TL_WARP_BITS(T, C)
#endif
#define TL_WARP_INTEGER_64(T, C)                                                      \
  TL_WARP_SHUFFLES(T, C, C)                                                           \
  TL_WARP_ARITHMETIC(T, C, a > b ? a : b, a < b ? a : b)                              \
  TL_WARP_BITS(T, C)

TL_WARP_INTEGER(int8, int8_t, int)
TL_WARP_INTEGER(int16, int16_t, int)
TL_WARP_INTEGER(int32, int32_t, int)
TL_WARP_INTEGER(uint8, uint8_t, unsigned)
TL_WARP_INTEGER(uint16, uint16_t, unsigned)
TL_WARP_INTEGER(uint32, uint32_t, unsigned)
TL_WARP_INTEGER_64(int64, int64_t)
TL_WARP_INTEGER_64(uint64, uint64_t)
TL_WARP_SHUFFLES(float32, float, float)
TL_WARP_ARITHMETIC(float32, float, fmaxf(a, b), fminf(a, b))
TL_WARP_SHUFFLES(float64, double, double)
TL_WARP_ARITHMETIC(float64, double, fmax(a, b), fmin(a, b))

#endif
