/* One-step changes of elements: the functions of the CUDA header of the same name, defined in
 * `runtime/atomic.h` from the same list. */
#ifndef TL_ATOMIC_H
#define TL_ATOMIC_H

#include "types.h"

#define TL_EMU_ATOMIC_LOAD(T, V) extern "C" V tl_atomic_load_##T(const void *p, int order);
#define TL_EMU_ATOMIC_STORE(T, V) extern "C" void tl_atomic_store_##T(void *p, V x, int order);
#define TL_EMU_ATOMIC_OP(name, T, V) extern "C" V tl_atomic_##name##_##T(void *p, V x, int order);
#define TL_EMU_ATOMIC_CAS(T, V) \
  extern "C" V tl_atomic_cas_##T(void *p, V expected, V x, int order);
#define TL_EMU_RED(T, V) extern "C" void tl_red_add_##T(void *p, V x);
#define TL_EMU_RED_VECTOR(T, count) extern "C" void tl_red_add_##T##x##count(void *p, const float *x);
#include "atomic_forms.h"
#undef TL_EMU_ATOMIC_LOAD
#undef TL_EMU_ATOMIC_STORE
#undef TL_EMU_ATOMIC_OP
#undef TL_EMU_ATOMIC_CAS
#undef TL_EMU_RED
#undef TL_EMU_RED_VECTOR

extern "C" void tl_atomic_fence(int order);
extern "C" void tl_atomic_put_b4(void *p, int64_t i, uint32_t x);

#endif
