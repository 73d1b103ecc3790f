/* One-step changes of elements that other threads may change at the same time, in global or shared
 * memory, seen by the whole device.
 *
 *   old = tl_atomic_add_T(p, x, order)   and _max_, _min_; of the integers also _or_, _and_, _xor_
 *   old = tl_atomic_load_T(p, order);  tl_atomic_store_T(p, x, order)
 *   old = tl_atomic_exch_T, tl_atomic_cas_T(p, expected, x, order)       32 and 64 bits
 *
 * T: int8..int64, uint8..uint64, float32, float64, float16, bfloat16. 16-bit floats come and go as
 * float. `order` is one of the __ATOMIC_ numbers and a constant. A NaN loses in max and min. What has
 * no instruction repeats a compare-and-swap until nobody came between: extrema of floats (they stop
 * where nothing is to change), 8 and 16 bits, bfloat16 below sm_90.
 *
 * Without result, relaxed:
 *   tl_red_add_{int32,uint32,uint64,float32,float64}(p, x)
 *   tl_red_add_{float16,bfloat16}x2(p, pair)     p aligned to 4 bytes
 *   tl_red_add_float32x{2,4}(p, x)               x: registers; global memory, p aligned to the width;
 *                                                one instruction from sm_90 on */
#ifndef TL_ATOMIC_H
#define TL_ATOMIC_H

#include "types.h"

#ifndef __ATOMIC_RELAXED
#define __ATOMIC_RELAXED 0
#define __ATOMIC_CONSUME 1
#define __ATOMIC_ACQUIRE 2
#define __ATOMIC_RELEASE 3
#define __ATOMIC_ACQ_REL 4
#define __ATOMIC_SEQ_CST 5
#endif

/* Sequential consistency is a fence in front, then the strongest order. */
TL_INLINE void tl_atomic_fence(int order) {
  if (order == __ATOMIC_SEQ_CST) asm volatile("fence.sc.gpu;" ::: "memory");
}

#define TL_ATOMIC_ONE(sem, rest, ...) asm volatile("atom." sem ".gpu." rest __VA_ARGS__)
#define TL_ATOMIC_ORDERED(rest, ...)                                                   \
  tl_atomic_fence(order);                                                              \
  if (order == __ATOMIC_RELAXED) TL_ATOMIC_ONE("relaxed", rest, __VA_ARGS__);          \
  else if (order <= __ATOMIC_ACQUIRE) TL_ATOMIC_ONE("acquire", rest, __VA_ARGS__);     \
  else if (order == __ATOMIC_RELEASE) TL_ATOMIC_ONE("release", rest, __VA_ARGS__);     \
  else TL_ATOMIC_ONE("acq_rel", rest, __VA_ARGS__)

#define TL_DEFINE_ATOM(name, T, C, op, c)                                              \
  TL_INLINE C tl_atomic_##name##_##T(void *p, C x, int order) {                        \
    C old;                                                                             \
    TL_ATOMIC_ORDERED(op, " %0, [%1], %2;" : "=" c(old) : "l"(p), c(x) : "memory");    \
    return old;                                                                        \
  }
#define TL_DEFINE_ATOM_CAS(T, C, bits, c)                                              \
  TL_INLINE C tl_atomic_cas_##T(void *p, C expected, C x, int order) {                 \
    C old;                                                                             \
    TL_ATOMIC_ORDERED("cas." bits, " %0, [%1], %2, %3;"                                \
                      : "=" c(old) : "l"(p), c(expected), c(x) : "memory");            \
    return old;                                                                        \
  }

#define TL_DEFINE_ATOMIC_WORD(T, C, s, bits, c)      \
  TL_DEFINE_ATOM(max, T, C, "max." s, c)             \
  TL_DEFINE_ATOM(min, T, C, "min." s, c)             \
  TL_DEFINE_ATOM(or, T, C, "or." bits, c)            \
  TL_DEFINE_ATOM(and, T, C, "and." bits, c)          \
  TL_DEFINE_ATOM(xor, T, C, "xor." bits, c)          \
  TL_DEFINE_ATOM(exch, T, C, "exch." bits, c)        \
  TL_DEFINE_ATOM_CAS(T, C, bits, c)
TL_DEFINE_ATOM(add, int32, int32_t, "add.s32", "r")
TL_DEFINE_ATOM(add, uint32, uint32_t, "add.u32", "r")
TL_DEFINE_ATOM(add, int64, int64_t, "add.u64", "l")
TL_DEFINE_ATOM(add, uint64, uint64_t, "add.u64", "l")
TL_DEFINE_ATOM(add, float32, float, "add.f32", "f")
TL_DEFINE_ATOM(add, float64, double, "add.f64", "d")
TL_DEFINE_ATOMIC_WORD(int32, int32_t, "s32", "b32", "r")
TL_DEFINE_ATOMIC_WORD(uint32, uint32_t, "u32", "b32", "r")
TL_DEFINE_ATOMIC_WORD(int64, int64_t, "s64", "b64", "l")
TL_DEFINE_ATOMIC_WORD(uint64, uint64_t, "u64", "b64", "l")
TL_DEFINE_ATOM_CAS(uint16, uint16_t, "b16", "h")

/* ---- loads and stores ------------------------------------------------------------------------ */

#define TL_DEFINE_ATOMIC_MOVES(T, V, U, ptx, c, DECODE, ENCODE)                                   \
  TL_INLINE V tl_atomic_load_##T(const void *p, int order) {                                      \
    U d;                                                                                          \
    tl_atomic_fence(order);                                                                       \
    if (order == __ATOMIC_RELAXED)                                                                \
      asm volatile("ld.relaxed.gpu." ptx " %0, [%1];" : "=" c(d) : "l"(p) : "memory");            \
    else                                                                                          \
      asm volatile("ld.acquire.gpu." ptx " %0, [%1];" : "=" c(d) : "l"(p) : "memory");            \
    return (V)DECODE(d);                                                                          \
  }                                                                                               \
  TL_INLINE void tl_atomic_store_##T(void *p, V x, int order) {                                   \
    tl_atomic_fence(order);                                                                       \
    if (order == __ATOMIC_RELAXED)                                                                \
      asm volatile("st.relaxed.gpu." ptx " [%0], %1;" ::"l"(p), c((U)ENCODE(x)) : "memory");      \
    else                                                                                          \
      asm volatile("st.release.gpu." ptx " [%0], %1;" ::"l"(p), c((U)ENCODE(x)) : "memory");      \
  }
#define TL_SAME(x) (x)
TL_DEFINE_ATOMIC_MOVES(int8, int8_t, uint16_t, "u8", "h", TL_SAME, (uint8_t))
TL_DEFINE_ATOMIC_MOVES(uint8, uint8_t, uint16_t, "u8", "h", TL_SAME, TL_SAME)
TL_DEFINE_ATOMIC_MOVES(int16, int16_t, uint16_t, "b16", "h", TL_SAME, TL_SAME)
TL_DEFINE_ATOMIC_MOVES(uint16, uint16_t, uint16_t, "b16", "h", TL_SAME, TL_SAME)
TL_DEFINE_ATOMIC_MOVES(int32, int32_t, uint32_t, "b32", "r", TL_SAME, TL_SAME)
TL_DEFINE_ATOMIC_MOVES(uint32, uint32_t, uint32_t, "b32", "r", TL_SAME, TL_SAME)
TL_DEFINE_ATOMIC_MOVES(int64, int64_t, uint64_t, "b64", "l", TL_SAME, TL_SAME)
TL_DEFINE_ATOMIC_MOVES(uint64, uint64_t, uint64_t, "b64", "l", TL_SAME, TL_SAME)
TL_DEFINE_ATOMIC_MOVES(float32, float, uint32_t, "b32", "r", tl_bits_to_float32, tl_float32_to_bits)
TL_DEFINE_ATOMIC_MOVES(float64, double, uint64_t, "b64", "l", tl_bits_to_float64,
                       tl_float64_to_bits)
TL_DEFINE_ATOMIC_MOVES(float16, float, uint16_t, "b16", "h", tl_float16_to_float32,
                       tl_float32_to_float16)
TL_DEFINE_ATOMIC_MOVES(bfloat16, float, uint16_t, "b16", "h", tl_bfloat16_to_float32,
                       tl_float32_to_bfloat16)

/* ---- compare and swap until nobody came between ---------------------------------------------- */

/* 8 bits: the halfword around it is exchanged with the other byte as it was seen. */
TL_INLINE uint8_t tl_atomic_cas_uint8(void *p, uint8_t expected, uint8_t x, int order) {
  uint8_t *const base = (uint8_t *)((uintptr_t)p & ~(uintptr_t)1);
  const int shift = (int)((uintptr_t)p & 1) * 8;
  uint16_t seen = tl_atomic_load_uint16(base, __ATOMIC_RELAXED);
  while (true) {
    const uint8_t old = (uint8_t)(seen >> shift);
    if (old != expected) return old;
    const uint16_t wanted = (uint16_t)((seen & ~(0xff << shift)) | x << shift);
    const uint16_t found = tl_atomic_cas_uint16(base, seen, wanted, order);
    if (found == seen) return expected;
    seen = found;
  }
}

#define TL_ATOMIC_ADD(old, x) ((old) + (x))
#define TL_ATOMIC_OR(old, x) ((old) | (x))
#define TL_ATOMIC_AND(old, x) ((old) & (x))
#define TL_ATOMIC_XOR(old, x) ((old) ^ (x))
#define TL_ATOMIC_MAX(old, x) ((old) >= (x) || (x) != (x) ? (old) : (x))
#define TL_ATOMIC_MIN(old, x) ((old) <= (x) || (x) != (x) ? (old) : (x))

#define TL_DEFINE_ATOMIC_LOOP(name, OP, T, V, WORD, DECODE, ENCODE)                         \
  TL_INLINE V tl_atomic_##name##_##T(void *p, V x, int order) {                             \
    WORD##_t seen = tl_atomic_load_##WORD(p, __ATOMIC_RELAXED);                             \
    while (true) {                                                                          \
      const WORD##_t wanted = (WORD##_t)ENCODE((V)OP((V)DECODE(seen), x));                  \
      if (wanted == seen && order == __ATOMIC_RELAXED) break;                               \
      const WORD##_t found = tl_atomic_cas_##WORD(p, seen, wanted, order);                  \
      if (found == seen) break;                                                             \
      seen = found;                                                                         \
    }                                                                                       \
    return (V)DECODE(seen);                                                                 \
  }
#define TL_DEFINE_ATOMIC_EXTREMA(T, V, WORD, DECODE, ENCODE)                                \
  TL_DEFINE_ATOMIC_LOOP(max, TL_ATOMIC_MAX, T, V, WORD, DECODE, ENCODE)                     \
  TL_DEFINE_ATOMIC_LOOP(min, TL_ATOMIC_MIN, T, V, WORD, DECODE, ENCODE)
#define TL_DEFINE_ATOMIC_NARROW(T, WORD)                                                    \
  TL_DEFINE_ATOMIC_LOOP(add, TL_ATOMIC_ADD, T, T##_t, WORD, TL_SAME, TL_SAME)               \
  TL_DEFINE_ATOMIC_LOOP(or, TL_ATOMIC_OR, T, T##_t, WORD, TL_SAME, TL_SAME)                 \
  TL_DEFINE_ATOMIC_LOOP(and, TL_ATOMIC_AND, T, T##_t, WORD, TL_SAME, TL_SAME)               \
  TL_DEFINE_ATOMIC_LOOP(xor, TL_ATOMIC_XOR, T, T##_t, WORD, TL_SAME, TL_SAME)               \
  TL_DEFINE_ATOMIC_EXTREMA(T, T##_t, WORD, TL_SAME, TL_SAME)
TL_DEFINE_ATOMIC_NARROW(int8, uint8)
TL_DEFINE_ATOMIC_NARROW(uint8, uint8)
TL_DEFINE_ATOMIC_NARROW(int16, uint16)
TL_DEFINE_ATOMIC_NARROW(uint16, uint16)
TL_DEFINE_ATOMIC_EXTREMA(float32, float, uint32, tl_bits_to_float32, tl_float32_to_bits)
TL_DEFINE_ATOMIC_EXTREMA(float64, double, uint64, tl_bits_to_float64, tl_float64_to_bits)
TL_DEFINE_ATOMIC_EXTREMA(float16, float, uint16, tl_float16_to_float32, tl_float32_to_float16)
TL_DEFINE_ATOMIC_EXTREMA(bfloat16, float, uint16, tl_bfloat16_to_float32, tl_float32_to_bfloat16)

TL_INLINE float tl_atomic_add_float16(void *p, float x, int order) {
  tl_float16 old;
  const tl_float16 y = tl_float32_to_float16(x);
  TL_ATOMIC_ORDERED("add.noftz.f16", " %0, [%1], %2;" : "=h"(old) : "l"(p), "h"(y) : "memory");
  return tl_float16_to_float32(old);
}

#if __CUDA_ARCH__ >= 900
TL_INLINE float tl_atomic_add_bfloat16(void *p, float x, int order) {
  tl_bfloat16 old;
  const tl_bfloat16 y = tl_float32_to_bfloat16(x);
  TL_ATOMIC_ORDERED("add.noftz.bf16", " %0, [%1], %2;" : "=h"(old) : "l"(p), "h"(y) : "memory");
  return tl_bfloat16_to_float32(old);
}
#else
TL_DEFINE_ATOMIC_LOOP(add, TL_ATOMIC_ADD, bfloat16, float, uint16, tl_bfloat16_to_float32,
                      tl_float32_to_bfloat16)
#endif

/* ---- without result -------------------------------------------------------------------------- */

#define TL_DEFINE_RED(T, C, op, c)                                                    \
  TL_INLINE void tl_red_add_##T(void *p, C x) {                                       \
    asm volatile("red.relaxed.gpu.add." op " [%0], %1;" ::"l"(p), c(x) : "memory");   \
  }
TL_DEFINE_RED(int32, int32_t, "s32", "r")
TL_DEFINE_RED(uint32, uint32_t, "u32", "r")
TL_DEFINE_RED(uint64, uint64_t, "u64", "l")
TL_DEFINE_RED(float32, float, "f32", "f")
TL_DEFINE_RED(float64, double, "f64", "d")
TL_DEFINE_RED(float16x2, uint32_t, "noftz.f16x2", "r")
#if __CUDA_ARCH__ >= 900
TL_DEFINE_RED(bfloat16x2, uint32_t, "noftz.bf16x2", "r")

TL_INLINE void tl_red_add_float32x2(void *p, const float *x) {
  asm volatile("red.relaxed.gpu.global.add.v2.f32 [%0], {%1, %2};" ::"l"(
                   __cvta_generic_to_global(p)),
               "f"(x[0]), "f"(x[1])
               : "memory");
}
TL_INLINE void tl_red_add_float32x4(void *p, const float *x) {
  asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(
                   __cvta_generic_to_global(p)),
               "f"(x[0]), "f"(x[1]), "f"(x[2]), "f"(x[3])
               : "memory");
}
#else
TL_INLINE void tl_red_add_bfloat16x2(void *p, uint32_t x) {
  tl_atomic_add_bfloat16(p, __uint_as_float(x << 16), __ATOMIC_RELAXED);
  tl_atomic_add_bfloat16((uint16_t *)p + 1, __uint_as_float(x & 0xffff0000u), __ATOMIC_RELAXED);
}
TL_INLINE void tl_red_add_float32x2(void *p, const float *x) {
  for (int i = 0; i < 2; i++) tl_red_add_float32((float *)p + i, x[i]);
}
TL_INLINE void tl_red_add_float32x4(void *p, const float *x) {
  for (int i = 0; i < 4; i++) tl_red_add_float32((float *)p + i, x[i]);
}
#endif

/* The 4-bit value number i from p on. Another thread may write the other half of its byte: each
 * step leaves all other bits of the word as they are at that time. */
TL_INLINE void tl_atomic_put_b4(void *p, int64_t i, uint32_t x) {
  const uintptr_t at = (uintptr_t)p + (uintptr_t)(i >> 1);
  const int shift = (int)(at & 3) * 8 + (int)(i & 1) * 4;
  uint32_t *const word = (uint32_t *)(at & ~(uintptr_t)3);
  atomicAnd(word, ~(0xfu << shift));
  atomicOr(word, (x & 0xfu) << shift);
}

#endif
