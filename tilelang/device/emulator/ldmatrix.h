/* 8x8 tiles of 16-bit elements between shared memory and the registers of a warp: the functions of
 * the CUDA header of the same name. */
#ifndef TL_LDMATRIX_H
#define TL_LDMATRIX_H

#include "memory.h"

extern "C" {
void tl_emu_ldmatrix(void *d, const void *row, int tiles, int transposed);
void tl_emu_stmatrix(void *row, const void *s, int tiles, int transposed);
uint32_t tl_movmatrix_trans(uint32_t a);
}

#define TL_DEFINE_MATRIX_MOVES(tiles, suffix, transposed)                         \
  TL_INLINE void tl_ldmatrix_x##tiles##suffix(void *d, const void *row) {         \
    tl_emu_ldmatrix(d, row, tiles, transposed);                                   \
  }                                                                               \
  TL_INLINE void tl_stmatrix_x##tiles##suffix(void *row, const void *s) {         \
    tl_emu_stmatrix(row, s, tiles, transposed);                                   \
  }
TL_DEFINE_MATRIX_MOVES(1, , 0)
TL_DEFINE_MATRIX_MOVES(2, , 0)
TL_DEFINE_MATRIX_MOVES(4, , 0)
TL_DEFINE_MATRIX_MOVES(1, _trans, 1)
TL_DEFINE_MATRIX_MOVES(2, _trans, 1)
TL_DEFINE_MATRIX_MOVES(4, _trans, 1)

#endif
