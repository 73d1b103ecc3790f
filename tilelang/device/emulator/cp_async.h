/* Asynchronous copies from global to shared memory: the functions of the CUDA header of the same
 * name. A copy lands at once or when it is waited for, as the seed says. */
#ifndef TL_CP_ASYNC_H
#define TL_CP_ASYNC_H

#include "memory.h"

extern "C" {
void tl_emu_copy_async(void *dst, const void *src, int bytes, uint32_t src_bytes);
void tl_emu_copy_wait(int newest); /* all but so many groups; -1: everything, committed or not */
void tl_cp_async_commit_group(void);
}

#define TL_DEFINE_CP_ASYNC(cache, bytes)                                                  \
  TL_INLINE void tl_cp_async_##cache##_##bytes(void *dst, const void *src) {              \
    tl_emu_copy_async(dst, src, bytes, bytes);                                            \
  }                                                                                       \
  TL_INLINE void tl_cp_async_##cache##_##bytes##_zfill(void *dst, const void *src,        \
                                                       uint32_t src_bytes) {              \
    tl_emu_copy_async(dst, src, bytes, src_bytes);                                        \
  }
TL_DEFINE_CP_ASYNC(ca, 4)
TL_DEFINE_CP_ASYNC(ca, 8)
TL_DEFINE_CP_ASYNC(ca, 16)
TL_DEFINE_CP_ASYNC(cg, 16)

template <int N>
TL_INLINE void tl_cp_async_wait_group() {
  tl_emu_copy_wait(N);
}
TL_INLINE void tl_cp_async_wait_all() { tl_emu_copy_wait(-1); }

#endif
