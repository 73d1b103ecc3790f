/* One-step changes of elements that other blocks may change at the same time.
 *
 *   old = tl_atomic_add_T(p, x, order)   and _max_, _min_, of T below; _or_ of the integers
 *   old = tl_atomic_load_T(p, order);  tl_atomic_store_T(p, x, order)
 *
 * T: int8..int64, uint8..uint64, float32, float64, float16, bfloat16. 16-bit floats come and go as
 * float. `order` is one of the __ATOMIC_ constants. Floats and extrema retry a compare-and-swap on the
 * bits until nobody came between. */
#ifndef TL_ATOMIC_H
#define TL_ATOMIC_H

#include "types.h"

/* What a compare-and-swap loop does with the value `old`, of C type V, to make the new one. */
#define TL_ATOMIC_ADD(old, x) ((old) + (x))
#define TL_ATOMIC_MAX(old, x) ((old) > (x) || (x) != (x) ? (old) : (x))
#define TL_ATOMIC_MIN(old, x) ((old) < (x) || (x) != (x) ? (old) : (x))

/* `failure` may not release; the strongest order is always allowed there. */
#define TL_DEFINE_ATOMIC_LOOP(name, OP, T, V, U, DECODE, ENCODE)                            \
  TL_INLINE V tl_atomic_##name##_##T(void *p, V x, int order) {                             \
    U *word = (U *)p, seen = __atomic_load_n(word, __ATOMIC_RELAXED), wanted;               \
    (void)order;                                                                            \
    do wanted = ENCODE((V)OP(DECODE(seen), x));                                             \
    while (!__atomic_compare_exchange_n(word, &seen, wanted, 1, __ATOMIC_SEQ_CST,           \
                                        __ATOMIC_RELAXED));                                 \
    return DECODE(seen);                                                                    \
  }

#define TL_SAME_BITS(x) (x)
TL_INLINE double tl_atomic_bits_to_float64(uint64_t u) {
  double x;
  __builtin_memcpy(&x, &u, 8);
  return x;
}
TL_INLINE uint64_t tl_atomic_float64_to_bits(double x) {
  uint64_t u;
  __builtin_memcpy(&u, &x, 8);
  return u;
}

#define TL_DEFINE_ATOMIC_INT(T)                                                             \
  TL_INLINE T##_t tl_atomic_add_##T(T##_t *p, T##_t x, int order) {                         \
    (void)order;                                                                            \
    return __atomic_fetch_add(p, x, __ATOMIC_SEQ_CST);                                      \
  }                                                                                         \
  TL_INLINE T##_t tl_atomic_or_##T(T##_t *p, T##_t x, int order) {                          \
    (void)order;                                                                            \
    return __atomic_fetch_or(p, x, __ATOMIC_SEQ_CST);                                       \
  }                                                                                         \
  TL_DEFINE_ATOMIC_LOOP(max, TL_ATOMIC_MAX, T, T##_t, T##_t, TL_SAME_BITS, TL_SAME_BITS)    \
  TL_DEFINE_ATOMIC_LOOP(min, TL_ATOMIC_MIN, T, T##_t, T##_t, TL_SAME_BITS, TL_SAME_BITS)    \
  TL_DEFINE_ATOMIC_MOVES(T, T##_t, T##_t, TL_SAME_BITS, TL_SAME_BITS)

#define TL_DEFINE_ATOMIC_MOVES(T, V, U, DECODE, ENCODE)                                     \
  TL_INLINE V tl_atomic_load_##T(const void *p, int order) {                                \
    (void)order;                                                                            \
    return DECODE(__atomic_load_n((const U *)p, __ATOMIC_SEQ_CST));                         \
  }                                                                                         \
  TL_INLINE void tl_atomic_store_##T(void *p, V x, int order) {                             \
    (void)order;                                                                            \
    __atomic_store_n((U *)p, ENCODE(x), __ATOMIC_SEQ_CST);                                  \
  }

#define TL_DEFINE_ATOMIC_FLOAT(T, V, U, DECODE, ENCODE)                                     \
  TL_DEFINE_ATOMIC_LOOP(add, TL_ATOMIC_ADD, T, V, U, DECODE, ENCODE)                        \
  TL_DEFINE_ATOMIC_LOOP(max, TL_ATOMIC_MAX, T, V, U, DECODE, ENCODE)                        \
  TL_DEFINE_ATOMIC_LOOP(min, TL_ATOMIC_MIN, T, V, U, DECODE, ENCODE)                        \
  TL_DEFINE_ATOMIC_MOVES(T, V, U, DECODE, ENCODE)

TL_DEFINE_ATOMIC_INT(int8)
TL_DEFINE_ATOMIC_INT(int16)
TL_DEFINE_ATOMIC_INT(int32)
TL_DEFINE_ATOMIC_INT(int64)
TL_DEFINE_ATOMIC_INT(uint8)
TL_DEFINE_ATOMIC_INT(uint16)
TL_DEFINE_ATOMIC_INT(uint32)
TL_DEFINE_ATOMIC_INT(uint64)
TL_DEFINE_ATOMIC_FLOAT(float32, float, uint32_t, tl_bits_to_float32, tl_float32_to_bits)
TL_DEFINE_ATOMIC_FLOAT(float64, double, uint64_t, tl_atomic_bits_to_float64,
                       tl_atomic_float64_to_bits)
TL_DEFINE_ATOMIC_FLOAT(float16, float, uint16_t, tl_float16_to_float32, tl_float32_to_float16)
TL_DEFINE_ATOMIC_FLOAT(bfloat16, float, uint16_t, tl_bfloat16_to_float32, tl_float32_to_bfloat16)

#endif
