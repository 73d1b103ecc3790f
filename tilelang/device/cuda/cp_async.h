/* Asynchronous copies from global to shared memory, in groups per thread.
 *
 *   tl_cp_async_ca_<4|8|16>(dst, src)          through L1
 *   tl_cp_async_cg_16(dst, src)                through L2 alone
 *   ..._zfill(dst, src, src_bytes)             copies src_bytes of the width, zeros the rest; with 0
 *                                              nothing is read, but src must be a valid address
 *   tl_cp_async_commit_group()                 ends a group; it may be empty
 *   tl_cp_async_wait_group<N>()                all but the newest N groups of this thread are done
 *   tl_cp_async_wait_all()
 *
 * dst and src are aligned to the width. After a wait the bytes are there for the waiting thread
 * alone: a barrier makes them visible to others. Below sm_80 the copy is done at once through
 * registers, with the same result. */
#ifndef TL_CP_ASYNC_H
#define TL_CP_ASYNC_H

#include "memory.h"

#if __CUDA_ARCH__ >= 800

#define TL_DEFINE_CP_ASYNC(cache, bytes)                                                      \
  TL_INLINE void tl_cp_async_##cache##_##bytes(void *dst, const void *src) {                  \
    asm volatile("cp.async." #cache ".shared.global [%0], [%1], " #bytes ";" ::"r"(           \
                     tl_smem_address(dst)),                                                   \
                 "l"(__cvta_generic_to_global(src))                                           \
                 : "memory");                                                                 \
  }                                                                                           \
  TL_INLINE void tl_cp_async_##cache##_##bytes##_zfill(void *dst, const void *src,            \
                                                       uint32_t src_bytes) {                  \
    asm volatile("cp.async." #cache ".shared.global [%0], [%1], " #bytes ", %2;" ::"r"(       \
                     tl_smem_address(dst)),                                                   \
                 "l"(__cvta_generic_to_global(src)), "r"(src_bytes)                           \
                 : "memory");                                                                 \
  }

TL_INLINE void tl_cp_async_commit_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int N>
TL_INLINE void tl_cp_async_wait_group() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

TL_INLINE void tl_cp_async_wait_all() { asm volatile("cp.async.wait_all;" ::: "memory"); }

#else

#define TL_DEFINE_CP_ASYNC(cache, bytes)                                                      \
  TL_INLINE void tl_cp_async_##cache##_##bytes##_zfill(void *dst, const void *src,            \
                                                       uint32_t src_bytes) {                  \
    uint32_t words[bytes / 4];                                                                \
    if (src_bytes >= bytes)                                                                   \
      for (int i = 0; i < bytes / 4; i++) words[i] = ((const uint32_t *)src)[i];              \
    else                                                                                      \
      for (int i = 0; i < bytes / 4; i++) {                                                   \
        words[i] = 0;                                                                         \
        for (uint32_t b = 0; b < 4; b++)                                                      \
          if (4 * i + b < src_bytes)                                                          \
            words[i] |= (uint32_t)((const uint8_t *)src)[4 * i + b] << (8 * b);               \
      }                                                                                       \
    for (int i = 0; i < bytes / 4; i++) ((uint32_t *)dst)[i] = words[i];                      \
  }                                                                                           \
  TL_INLINE void tl_cp_async_##cache##_##bytes(void *dst, const void *src) {                  \
    tl_cp_async_##cache##_##bytes##_zfill(dst, src, bytes);                                   \
  }

TL_INLINE void tl_cp_async_commit_group() {}
template <int N>
TL_INLINE void tl_cp_async_wait_group() {}
TL_INLINE void tl_cp_async_wait_all() {}

#endif

TL_DEFINE_CP_ASYNC(ca, 4)
TL_DEFINE_CP_ASYNC(ca, 8)
TL_DEFINE_CP_ASYNC(ca, 16)
TL_DEFINE_CP_ASYNC(cg, 16)

#endif
