/* CUDA's built-in functions under their own names, for text that the user wrote: those of `sync.h`,
 * `warp.h`, `memory.h` and `atomic.h`. Stands before the text, as NVRTC's built-ins do. */
#ifndef TL_EMU_BUILTINS_H
#define TL_EMU_BUILTINS_H

#include "atomic.h"
#include "memory.h"
#include "sync.h"
#include "warp.h"

#define __syncthreads() tl_sync_threads()
#define __syncthreads_count(p) tl_syncthreads_count(p)
#define __syncthreads_and(p) tl_syncthreads_and(p)
#define __syncthreads_or(p) tl_syncthreads_or(p)
#define __syncwarp(...) tl_sync_warp(__VA_ARGS__)
#define __threadfence_block() tl_membar_cta()
#define __threadfence() tl_membar_gl()
#define __threadfence_system() tl_membar_sys()
#define __activemask() tl_activemask()
#define __any_sync(mask, p) tl_any_sync(mask, p)
#define __all_sync(mask, p) tl_all_sync(mask, p)
#define __ballot_sync(mask, p) tl_ballot_sync(mask, p)

#define TL_EMU_SHUFFLES(kind, suffix, n)                                                        \
  template <class T>                                                                            \
  TL_INLINE T __shfl##suffix##_sync(uint32_t mask, T x, n lane, int32_t width = 32) {           \
    return tl_emu_cast<T>(                                                                      \
        tl_emu_shuffle(kind, mask, tl_emu_cast<uint64_t>(x), (int32_t)lane, width));            \
  }
TL_EMU_SHUFFLES(TL_EMU_INDEX, , int32_t)
TL_EMU_SHUFFLES(TL_EMU_XOR, _xor, int32_t)
TL_EMU_SHUFFLES(TL_EMU_UP, _up, uint32_t)
TL_EMU_SHUFFLES(TL_EMU_DOWN, _down, uint32_t)

#define TL_EMU_ATOMICS(T, V)                                                                    \
  TL_INLINE V atomicAdd(V *p, V x) { return tl_atomic_add_##T(p, x, __ATOMIC_RELAXED); }        \
  TL_INLINE V atomicMax(V *p, V x) { return tl_atomic_max_##T(p, x, __ATOMIC_RELAXED); }        \
  TL_INLINE V atomicMin(V *p, V x) { return tl_atomic_min_##T(p, x, __ATOMIC_RELAXED); }        \
  TL_INLINE V atomicOr(V *p, V x) { return tl_atomic_or_##T(p, x, __ATOMIC_RELAXED); }          \
  TL_INLINE V atomicAnd(V *p, V x) { return tl_atomic_and_##T(p, x, __ATOMIC_RELAXED); }        \
  TL_INLINE V atomicXor(V *p, V x) { return tl_atomic_xor_##T(p, x, __ATOMIC_RELAXED); }        \
  TL_INLINE V atomicExch(V *p, V x) { return tl_atomic_exch_##T(p, x, __ATOMIC_RELAXED); }      \
  TL_INLINE V atomicCAS(V *p, V expected, V x) {                                                \
    return tl_atomic_cas_##T(p, expected, x, __ATOMIC_RELAXED);                                 \
  }
TL_EMU_ATOMICS(int32, int32_t)
TL_EMU_ATOMICS(uint32, uint32_t)
TL_EMU_ATOMICS(uint64, uint64_t)
TL_INLINE float atomicAdd(float *p, float x) {
  return tl_atomic_add_float32(p, x, __ATOMIC_RELAXED);
}
TL_INLINE double atomicAdd(double *p, double x) {
  return tl_atomic_add_float64(p, x, __ATOMIC_RELAXED);
}

template <class T>
TL_INLINE T __ldg(const T *p) {
  tl_emu_read_constant(p, sizeof(T));
  return *p;
}

#endif
