/* Loads and stores of 1 to 16 bytes: the functions of the CUDA header of the same name. Cache hints
 * change nothing here; what the `nc` forms read may not be written while the kernel runs. */
#ifndef TL_MEMORY_H
#define TL_MEMORY_H

#include "types.h"

extern "C" {
void tl_emu_read_constant(const void *p, int bytes);  /* before the load of an `nc` form */
void tl_emu_poll(void);                               /* other blocks may run now */
uint32_t tl_smem_address(const void *p);
uint32_t tl_ld_acquire_gpu(const uint32_t *p);
void tl_st_release_gpu(uint32_t *p, uint32_t x);
void tl_prefetch_global_L2(const void *p);
}

#define TL_DEFINE_MOVES(bits, T)                                                        \
  TL_INLINE void tl_ld_b##bits(void *d, const void *p) { *(T *)d = *(const T *)p; }     \
  TL_INLINE void tl_st_b##bits(void *p, const void *s) { *(T *)p = *(const T *)s; }     \
  TL_INLINE void tl_ld_global_nc_b##bits(void *d, const void *p) {                      \
    tl_emu_read_constant(p, sizeof(T));                                                 \
    *(T *)d = *(const T *)p;                                                            \
  }                                                                                     \
  TL_INLINE void tl_ld_global_cs_b##bits(void *d, const void *p) {                      \
    *(T *)d = *(const T *)p;                                                            \
  }                                                                                     \
  TL_INLINE void tl_ld_global_cg_b##bits(void *d, const void *p) {                      \
    tl_emu_poll();                                                                      \
    *(T *)d = *(const T *)p;                                                            \
  }                                                                                     \
  TL_INLINE void tl_st_global_cs_b##bits(void *p, const void *s) { *(T *)p = *(const T *)s; }

TL_DEFINE_MOVES(8, unsigned char)
TL_DEFINE_MOVES(16, unsigned short)
TL_DEFINE_MOVES(32, unsigned int)
TL_DEFINE_MOVES(64, uint2)
TL_DEFINE_MOVES(128, uint4)

#endif
