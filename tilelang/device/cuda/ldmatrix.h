/* 8x8 tiles of 16-bit elements between shared memory and the registers of a warp.
 *
 *   tl_ldmatrix_x<1|2|4>(d, row), _trans        d: 1, 2 or 4 words of this lane
 *   tl_stmatrix_x<1|2|4>(row, s), _trans        from sm_90 on; the exact inverse
 *   tl_movmatrix_trans(a)                       one tile, transposed within the warp
 *
 * Lane 8m + i gives the address of row i of tile m: 16 bytes, aligned to 16. Lane 4g + t receives of
 * tile m
 *     plain:  (g, 2t) low half, (g, 2t + 1) high half         in d[m]
 *     trans:  (2t, g) low half, (2t + 1, g) high half
 * On sm_75 every lane must give a valid address, also where it is not used.
 * All lanes of the warp take part. Other lanes' writes must have been made visible before. */
#ifndef TL_LDMATRIX_H
#define TL_LDMATRIX_H

#include "memory.h"

#define TL_DEFINE_LDMATRIX(suffix, modifier)                                                       \
  TL_INLINE void tl_ldmatrix_x1##suffix(void *d, const void *row) {                                \
    uint32_t *r = (uint32_t *)d;                                                                   \
    asm volatile("ldmatrix.sync.aligned.m8n8.x1" modifier ".shared.b16 {%0}, [%1];"                \
                 : "=r"(r[0])                                                                      \
                 : "r"(tl_smem_address(row))                                                       \
                 : "memory");                                                                      \
  }                                                                                                \
  TL_INLINE void tl_ldmatrix_x2##suffix(void *d, const void *row) {                                \
    uint32_t *r = (uint32_t *)d;                                                                   \
    asm volatile("ldmatrix.sync.aligned.m8n8.x2" modifier ".shared.b16 {%0, %1}, [%2];"            \
                 : "=r"(r[0]), "=r"(r[1])                                                          \
                 : "r"(tl_smem_address(row))                                                       \
                 : "memory");                                                                      \
  }                                                                                                \
  TL_INLINE void tl_ldmatrix_x4##suffix(void *d, const void *row) {                                \
    uint32_t *r = (uint32_t *)d;                                                                   \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4" modifier ".shared.b16 {%0, %1, %2, %3}, [%4];"    \
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])                                  \
                 : "r"(tl_smem_address(row))                                                       \
                 : "memory");                                                                      \
  }
TL_DEFINE_LDMATRIX(, "")
TL_DEFINE_LDMATRIX(_trans, ".trans")

#if __CUDA_ARCH__ >= 900
#define TL_DEFINE_STMATRIX(suffix, modifier)                                                       \
  TL_INLINE void tl_stmatrix_x1##suffix(void *row, const void *s) {                                \
    const uint32_t *r = (const uint32_t *)s;                                                       \
    asm volatile("stmatrix.sync.aligned.m8n8.x1" modifier ".shared.b16 [%0], {%1};" ::"r"(         \
                     tl_smem_address(row)),                                                        \
                 "r"(r[0])                                                                         \
                 : "memory");                                                                      \
  }                                                                                                \
  TL_INLINE void tl_stmatrix_x2##suffix(void *row, const void *s) {                                \
    const uint32_t *r = (const uint32_t *)s;                                                       \
    asm volatile("stmatrix.sync.aligned.m8n8.x2" modifier ".shared.b16 [%0], {%1, %2};" ::"r"(     \
                     tl_smem_address(row)),                                                        \
                 "r"(r[0]), "r"(r[1])                                                              \
                 : "memory");                                                                      \
  }                                                                                                \
  TL_INLINE void tl_stmatrix_x4##suffix(void *row, const void *s) {                                \
    const uint32_t *r = (const uint32_t *)s;                                                       \
    asm volatile("stmatrix.sync.aligned.m8n8.x4" modifier                                          \
                 ".shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(tl_smem_address(row)),                \
                 "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])                                        \
                 : "memory");                                                                      \
  }
TL_DEFINE_STMATRIX(, "")
TL_DEFINE_STMATRIX(_trans, ".trans")
#endif

TL_INLINE uint32_t tl_movmatrix_trans(uint32_t a) {
  uint32_t d;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(d) : "r"(a));
  return d;
}

#endif
