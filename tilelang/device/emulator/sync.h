/* Barriers and fences: the functions of the CUDA header of the same name. */
#ifndef TL_SYNC_H
#define TL_SYNC_H

#include "types.h"

extern "C" {
void tl_sync_threads(void);
void tl_emu_bar_sync(int32_t id, int32_t count); /* count 0: all threads of the block */
void tl_bar_arrive(int32_t id, int32_t count);
int32_t tl_syncthreads_count(bool p);
int32_t tl_syncthreads_and(bool p);
int32_t tl_syncthreads_or(bool p);
void tl_sync_warp(uint32_t mask = 0xffffffffu);
void tl_membar_cta(void);
void tl_membar_gl(void);
void tl_membar_sys(void);
void tl_fence_sc_gpu(void);
}

TL_INLINE void tl_fence_proxy_async() {}
TL_INLINE void tl_bar_sync(int32_t id) { tl_emu_bar_sync(id, 0); }
TL_INLINE void tl_bar_sync(int32_t id, int32_t count) { tl_emu_bar_sync(id, count); }

#endif
