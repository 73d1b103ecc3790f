/* Matrix products of a warp group: the functions of the CUDA header of the same name. A product is
 * formed at once or when it is waited for, as the seed says. */
#ifndef TL_WGMMA_H
#define TL_WGMMA_H

#include "memory.h"

extern "C" {
void tl_emu_wgmma(float *d, const void *a, uint64_t a_matrix, uint64_t b_matrix, int columns,
                  int is_bfloat16, int turned_a, int turned_b, int is_new);
void tl_emu_wgmma_fence(void);
void tl_wgmma_commit(void);
void tl_emu_wgmma_wait(int groups);
}

template <int MODE>
TL_INLINE uint64_t tl_wgmma_descriptor(const void *p, uint32_t lead, uint32_t stride) {
  return (uint64_t)((tl_smem_address(p) & 0x3ffff) >> 4) | (uint64_t)(lead >> 4) << 16 |
         (uint64_t)(stride >> 4) << 32 | (uint64_t)MODE << 62;
}

template <int COUNT>
TL_INLINE void tl_wgmma_pin(float *) {}

template <class... Pointers>
TL_INLINE void tl_wgmma_fence(Pointers...) {
  tl_emu_wgmma_fence();
}

template <int GROUPS, class... Pointers>
TL_INLINE void tl_wgmma_wait(Pointers...) {
  tl_emu_wgmma_wait(GROUPS);
}

template <int COUNT>
TL_INLINE void tl_wgmma_pin_words(void *) {}

#define TL_EMU_WGMMA(N, T, is_bfloat16, suffix, is_new)                                           \
  template <int TA, int TB>                                                                       \
  TL_INLINE void tl_wgmma_m64n##N##k16_f32_##T##_ss##suffix(float *d, uint64_t a, uint64_t b) {   \
    tl_emu_wgmma(d, nullptr, a, b, N, is_bfloat16, TA, TB, is_new);                               \
  }                                                                                               \
  template <int TB>                                                                               \
  TL_INLINE void tl_wgmma_m64n##N##k16_f32_##T##_rs##suffix(float *d, const void *a, uint64_t b) { \
    tl_emu_wgmma(d, a, 0, b, N, is_bfloat16, 0, TB, is_new);                                      \
  }
#define TL_DEFINE_WGMMA(N)         \
  TL_EMU_WGMMA(N, f16, 0, , 0)     \
  TL_EMU_WGMMA(N, bf16, 1, , 0)    \
  TL_EMU_WGMMA(N, f16, 0, _new, 1) \
  TL_EMU_WGMMA(N, bf16, 1, _new, 1)

#endif
