/* Barriers of a block or of a part of it, and memory fences.
 *
 *   tl_sync_threads()                 all threads of the block
 *   tl_bar_sync(id[, count])          named barrier, 0..15 (0 is tl_sync_threads'); count: a multiple of 32
 *   tl_bar_arrive(id, count)          counts this warp without waiting
 *   tl_syncthreads_{and,or,count}(p)  barrier that also combines a predicate
 *   tl_sync_warp([mask])
 *   tl_membar_{cta,gl,sys}()          this thread's accesses before come before those after
 *   tl_fence_sc_gpu()
 *   tl_fence_proxy_async()            this thread's writes to shared memory before come before reads of
 *                                     the asynchronous proxy (wgmma) that follow; before a barrier
 *
 * Every barrier also makes the memory accesses before it visible to its threads. */
#ifndef TL_SYNC_H
#define TL_SYNC_H

#include "types.h"

TL_INLINE void tl_sync_threads() { __syncthreads(); }

TL_INLINE void tl_bar_sync(int32_t id) { asm volatile("bar.sync %0;" ::"r"(id) : "memory"); }

TL_INLINE void tl_bar_sync(int32_t id, int32_t count) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(count) : "memory");
}

TL_INLINE void tl_bar_arrive(int32_t id, int32_t count) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(count) : "memory");
}

TL_INLINE int32_t tl_syncthreads_count(bool p) { return __syncthreads_count(p); }
TL_INLINE int32_t tl_syncthreads_and(bool p) { return __syncthreads_and(p) != 0; }
TL_INLINE int32_t tl_syncthreads_or(bool p) { return __syncthreads_or(p) != 0; }

TL_INLINE void tl_sync_warp(uint32_t mask = 0xffffffffu) { __syncwarp(mask); }

TL_INLINE void tl_membar_cta() { asm volatile("membar.cta;" ::: "memory"); }
TL_INLINE void tl_membar_gl() { asm volatile("membar.gl;" ::: "memory"); }
TL_INLINE void tl_membar_sys() { asm volatile("membar.sys;" ::: "memory"); }
TL_INLINE void tl_fence_sc_gpu() { asm volatile("fence.sc.gpu;" ::: "memory"); }

TL_INLINE void tl_fence_proxy_async() {
#if __CUDA_ARCH__ >= 900
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

#endif
