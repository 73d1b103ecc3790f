/* Copies of 2-D tiles between row-major or strided memory, clipped at run time.
 *
 *   tl_copy_in_<b>  (dst, dst_row, src, src_row, src_col, rows, cols, valid_rows, valid_cols, fill)
 *   tl_copy_out_<b> (dst, dst_row, dst_col, src, src_row, rows, cols, valid_rows, valid_cols)
 *
 * <b> is the element's bits: 8, 16, 32, 64; elements are moved as unsigned integers, never
 * converted. *_row and *_col are strides in elements; `in` fills a dense-column tile and gives what
 * lies beyond the valid extents the bits `fill`; `out` writes the valid part alone. Strides and
 * sizes should be constants; valid_* may be negative or too large. With a column stride of 1 each
 * row is one memcpy. Overlap is not allowed. Compiles alone. */
#ifndef TL_COPY_H
#define TL_COPY_H

#include <stddef.h>

#include "types.h"

TL_INLINE int64_t tl_clip_extent(int64_t valid, int64_t most) {
  return valid < 0 ? 0 : valid < most ? valid : most;
}

#define TL_DEFINE_COPY(bits)                                                                      \
  TL_INLINE void tl_copy_in_##bits(void *restrict dst, int64_t dst_row, const void *restrict src, \
                                   int64_t src_row, int64_t src_col, int64_t rows, int64_t cols,  \
                                   int64_t valid_rows, int64_t valid_cols, uint##bits##_t fill) { \
    const int64_t n = tl_clip_extent(valid_cols, cols), m = tl_clip_extent(valid_rows, rows);     \
    for (int64_t i = 0; i < rows; i++) {                                                          \
      uint##bits##_t *out = (uint##bits##_t *)dst + i * dst_row;                                  \
      const uint##bits##_t *in = (const uint##bits##_t *)src + i * src_row;                       \
      const int64_t present = i < m ? n : 0;                                                      \
      if (src_col == 1 && present == cols) {                                                      \
        __builtin_memcpy(out, in, (size_t)cols * sizeof fill);                                    \
        continue;                                                                                 \
      }                                                                                           \
      for (int64_t j = 0; j < present; j++) out[j] = in[j * src_col];                             \
      for (int64_t j = present; j < cols; j++) out[j] = fill;                                     \
    }                                                                                             \
  }                                                                                               \
  TL_INLINE void tl_copy_out_##bits(void *restrict dst, int64_t dst_row, int64_t dst_col,         \
                                    const void *restrict src, int64_t src_row, int64_t rows,      \
                                    int64_t cols, int64_t valid_rows, int64_t valid_cols) {       \
    const int64_t n = tl_clip_extent(valid_cols, cols), m = tl_clip_extent(valid_rows, rows);     \
    for (int64_t i = 0; i < m; i++) {                                                             \
      uint##bits##_t *out = (uint##bits##_t *)dst + i * dst_row;                                  \
      const uint##bits##_t *in = (const uint##bits##_t *)src + i * src_row;                       \
      if (dst_col == 1 && n == cols) {                                                            \
        __builtin_memcpy(out, in, (size_t)cols * sizeof *out);                                    \
        continue;                                                                                 \
      }                                                                                           \
      for (int64_t j = 0; j < n; j++) out[j * dst_col] = in[j];                                   \
    }                                                                                             \
  }

TL_DEFINE_COPY(8)
TL_DEFINE_COPY(16)
TL_DEFINE_COPY(32)
TL_DEFINE_COPY(64)

#endif
