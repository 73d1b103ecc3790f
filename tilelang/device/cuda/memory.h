/* Loads and stores of 1 to 16 bytes, cache hints, release and acquire of flags.
 *
 *   tl_ld_b<bits>(d, p)            any memory; bits 8, 16, 32, 64, 128; p aligned to its width
 *   tl_st_b<bits>(p, s)
 *   tl_ld_global_nc_b<bits>(d, p)  global memory that nothing writes while the kernel runs
 *   tl_ld_global_cs_b<bits>, tl_st_global_cs_b<bits>   read or written once: first to leave the cache
 *   tl_ld_global_cg_b<bits>        through L2 alone: sees what other blocks wrote before a fence
 *   tl_ld_acquire_gpu(p), tl_st_release_gpu(p, x)      uint32_t flags between blocks
 *   tl_prefetch_global_L2(p)
 *   tl_smem_address(p)             the 32-bit address in the shared window
 *
 * `d` and `s` point to registers of the thread: a local array indexed by constants, aligned to the
 * width. */
#ifndef TL_MEMORY_H
#define TL_MEMORY_H

#include "types.h"

TL_INLINE uint32_t tl_smem_address(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

#define TL_DEFINE_MOVES(bits, T)                                                        \
  TL_INLINE void tl_ld_b##bits(void *d, const void *p) { *(T *)d = *(const T *)p; }     \
  TL_INLINE void tl_st_b##bits(void *p, const void *s) { *(T *)p = *(const T *)s; }     \
  TL_INLINE void tl_ld_global_nc_b##bits(void *d, const void *p) {                      \
    *(T *)d = __ldg((const T *)p);                                                      \
  }                                                                                     \
  TL_INLINE void tl_ld_global_cs_b##bits(void *d, const void *p) {                      \
    *(T *)d = __ldcs((const T *)p);                                                     \
  }                                                                                     \
  TL_INLINE void tl_ld_global_cg_b##bits(void *d, const void *p) {                      \
    *(T *)d = __ldcg((const T *)p);                                                     \
  }                                                                                     \
  TL_INLINE void tl_st_global_cs_b##bits(void *p, const void *s) {                      \
    __stcs((T *)p, *(const T *)s);                                                      \
  }

TL_DEFINE_MOVES(8, unsigned char)
TL_DEFINE_MOVES(16, unsigned short)
TL_DEFINE_MOVES(32, unsigned int)
TL_DEFINE_MOVES(64, uint2)
TL_DEFINE_MOVES(128, uint4)

TL_INLINE uint32_t tl_ld_acquire_gpu(const uint32_t *p) {
  uint32_t d;
  asm volatile("ld.acquire.gpu.b32 %0, [%1];" : "=r"(d) : "l"(p) : "memory");
  return d;
}

TL_INLINE void tl_st_release_gpu(uint32_t *p, uint32_t x) {
  asm volatile("st.release.gpu.b32 [%0], %1;" ::"l"(p), "r"(x) : "memory");
}

TL_INLINE void tl_prefetch_global_L2(const void *p) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(__cvta_generic_to_global(p)));
}

#endif
