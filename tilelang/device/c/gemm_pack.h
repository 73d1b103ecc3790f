/* Packing for gemm.h: strided sources into panels of B and scratch of A (forms: gemm_panel.h).
 *
 * A template: define TL_FORM (f32, bf16, f64, i16, i32) and TL_KIND (an element kind), then
 * include, once per pair. Defines, with both names appended (tl_pack_b_rows_f32_float16):
 *
 *   tl_pack_b_rows      (panels, src, stride_k, K, N, valid_k, valid_n)             stride_n == 1
 *   tl_pack_b_transposed(panels, src, stride_n, K, N, valid_k, valid_n)             stride_k == 1
 *   tl_pack_b_strided   (panels, src, stride_k, stride_n, K, N, valid_k, valid_n)
 *   tl_pack_a_rows      (scratch, src, stride_m, M, K, valid_m, valid_k)            stride_k == 1
 *   tl_pack_a_columns   (scratch, src, stride_k, M, K, valid_m, valid_k)            stride_m == 1
 *   tl_pack_a_strided   (scratch, src, stride_m, stride_k, M, K, valid_m, valid_k)  columns too
 *
 * Strides (in elements) and sizes should be constants; valid_* limit what is read, at run time, may
 * be negative or too large, and what lies beyond becomes zero. src is the address of
 * element (0, 0), which for kinds of two per byte lies at the start of a byte. */
#if !defined(TL_FORM)
#define TL_FORM f32
#endif
#if !defined(TL_KIND)
#define TL_KIND float32
#endif

#include "gemm_panel.h"

#ifndef TL_GEMM_PACK_H
#define TL_GEMM_PACK_H

typedef __attribute__((vector_size(16), aligned(1), may_alias)) uint32_t tl_vec4_u32;
typedef __attribute__((aligned(1), may_alias)) uint32_t tl_word_u32;

#if defined(__F16C__) && !defined(__clang__)
/* gcc has the conversion instruction but does not vectorise to it. Returns how many it did. */
#if defined(__AVX512F__)
#define TL_HALVES 16
#else
#define TL_HALVES 8
#endif
typedef __attribute__((vector_size(TL_HALVES * 2), aligned(1), may_alias)) uint16_t tl_vec_halves;
typedef __attribute__((vector_size(TL_HALVES * 4), aligned(1), may_alias)) float tl_vec_widened;
TL_INLINE int64_t tl_widen_float16(float *restrict out, const uint16_t *restrict src, int64_t n) {
  int64_t i = 0;
  for (; i + TL_HALVES <= n; i += TL_HALVES) {
    tl_vec_widened x;
    __asm__("vcvtph2ps %1, %0" : "=v"(x) : "vm"(*(const tl_vec_halves *)(src + i)));
    *(tl_vec_widened *)(out + i) = x;
  }
  return i;
}
#endif

/* out[i * step + 0..4) = (a[i], b[i], c[i], d[i]) for i < 4. */
TL_INLINE void tl_transpose_4x4(tl_word_u32 *restrict out, int64_t step, tl_vec4_u32 a,
                                tl_vec4_u32 b, tl_vec4_u32 c, tl_vec4_u32 d) {
#if defined(__clang__) || __GNUC__ >= 12
#define TL_SHUFFLE(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#else
#define TL_SHUFFLE(x, y, ...) __builtin_shuffle(x, y, (tl_vec4_u32){__VA_ARGS__})
#endif
  const tl_vec4_u32 ab01 = TL_SHUFFLE(a, b, 0, 4, 1, 5), ab23 = TL_SHUFFLE(a, b, 2, 6, 3, 7);
  const tl_vec4_u32 cd01 = TL_SHUFFLE(c, d, 0, 4, 1, 5), cd23 = TL_SHUFFLE(c, d, 2, 6, 3, 7);
  *(tl_vec4_u32 *)(out + 0 * step) = TL_SHUFFLE(ab01, cd01, 0, 1, 4, 5);
  *(tl_vec4_u32 *)(out + 1 * step) = TL_SHUFFLE(ab01, cd01, 2, 3, 6, 7);
  *(tl_vec4_u32 *)(out + 2 * step) = TL_SHUFFLE(ab23, cd23, 0, 1, 4, 5);
  *(tl_vec4_u32 *)(out + 3 * step) = TL_SHUFFLE(ab23, cd23, 2, 3, 6, 7);
#undef TL_SHUFFLE
}

/* Four rows of n words, `stride` bytes apart, become four columns of a panel `width` words wide. */
TL_INLINE void tl_transpose_rows(tl_word_u32 *restrict out, int64_t width,
                                 const char *restrict rows, int64_t stride, int64_t n) {
  int64_t k = 0;
  for (; k + 4 <= n; k += 4) {
    const char *r = rows + 4 * k;
    tl_transpose_4x4(out + k * width, width, *(const tl_vec4_u32 *)r,
                     *(const tl_vec4_u32 *)(r + stride), *(const tl_vec4_u32 *)(r + 2 * stride),
                     *(const tl_vec4_u32 *)(r + 3 * stride));
  }
  for (; k < n; k++)
    for (int64_t j = 0; j < 4; j++)
      out[k * width + j] = *(const tl_word_u32 *)(rows + j * stride + 4 * k);
}

TL_INLINE int64_t tl_clamp_extent(int64_t x, int64_t most) {
  return x < 0 ? 0 : x < most ? x : most;
}

#endif

#define TL_NAME(base) TL_PASTE3(base, TL_FORM, TL_KIND)
#define TL_ELEM TL_PASTE2(TL_ELEM_, TL_FORM)
#define TL_KP TL_PASTE2(TL_KP_, TL_FORM)
#define TL_NR (2 * TL_VECTOR_BYTES / (int64_t)sizeof(TL_PASTE2(TL_ACC_, TL_FORM)))
#define TL_LOAD(p, i) TL_PASTE2(tl_panel_, TL_FORM)(TL_PASTE2(tl_load_, TL_KIND)(p, i))
#if TL_PASTE2(TL_KIND_ID_, TL_KIND) == \
    TL_PASTE2(TL_FORM_ID_, TL_FORM) /* a kind without a number is 0 */
#define TL_IS_PANEL_KIND 1
#else
#define TL_IS_PANEL_KIND 0
#endif

/* out[0..n) = elements first..first+n of src. */
TL_INLINE void TL_NAME(tl_pack_run)(TL_ELEM *restrict out, const void *restrict src, int64_t first,
                                    int64_t n) {
  int64_t done = 0;
#if defined(TL_HALVES) && TL_PASTE2(TL_KIND_ID_, TL_KIND) == 6 && \
    TL_PASTE2(TL_FORM_ID_, TL_FORM) == 1
  done = tl_widen_float16(out, (const uint16_t *)src + first, n);
#endif
  TL_SIMD for (int64_t i = done; i < n; i++) out[i] = TL_LOAD(src, first + i);
}

/* One line [n][KP] of a panel from columns that lie side by side; `first` is element (k, 0), and
 * `rows` of the KP rows from k on are present (the line is zero before, where that matters). */
TL_INLINE void TL_NAME(tl_pack_line)(TL_ELEM *restrict out, const void *restrict src, int64_t first,
                                     int64_t stride_k, int64_t n, int64_t rows) {
#if TL_PASTE2(TL_KP_, TL_FORM) == 1
  (void)stride_k, (void)rows;
  TL_NAME(tl_pack_run)(out, src, first, n);
#else
  if (rows == 1) {
    for (int64_t j = 0; j < n; j++) out[2 * j] = TL_LOAD(src, first + j);
    return;
  }
  TL_SIMD for (int64_t j = 0; j < n; j++)
    ((tl_word_u32 *)out)[j] = (uint16_t)TL_LOAD(src, first + j) |
                              (uint32_t)(uint16_t)TL_LOAD(src, first + stride_k + j) << 16;
#endif
}

/* Panel [ceil(K/KP)][width][KP] from a source whose columns lie side by side. */
TL_INLINE void TL_NAME(tl_pack_lines)(TL_ELEM *restrict panel, int64_t width,
                                      const void *restrict src, int64_t first, int64_t stride_k,
                                      int64_t K, int64_t valid_k, int64_t cols) {
  int64_t k = 0;
  if (cols == width)
    for (; k + TL_KP <= valid_k; k += TL_KP)
      TL_NAME(tl_pack_line)(panel + k * width, src, first + k * stride_k, stride_k, width, TL_KP);
  for (; k < K; k += TL_KP) {
    __builtin_memset(panel + k * width, 0, (size_t)(width * TL_KP) * sizeof(TL_ELEM));
    if (k < valid_k)
      TL_NAME(tl_pack_line)(panel + k * width, src, first + k * stride_k, stride_k, cols,
                            valid_k - k);
  }
}

/* The same from any source, element by element. */
TL_INLINE void TL_NAME(tl_pack_elements)(TL_ELEM *restrict panel, int64_t width,
                                         const void *restrict src, int64_t first, int64_t stride_k,
                                         int64_t stride_n, int64_t K, int64_t valid_k,
                                         int64_t cols) {
  __builtin_memset(panel, 0, (size_t)(width * TL_ROUND_UP(K, TL_KP)) * sizeof(TL_ELEM));
  for (int64_t j = 0; j < cols; j++)
    for (int64_t k = 0; k < valid_k; k++)
      panel[(k / TL_KP * width + j) * TL_KP + k % TL_KP] =
          TL_LOAD(src, first + k * stride_k + j * stride_n);
}

#if TL_PASTE2(TL_FORM_ID_, TL_FORM) != 3
/* A panel of words of four bytes from a source whose k lie side by side: four columns and up to 64
 * words at a time, brought into a buffer where they are not panel elements, or not all there. */
TL_INLINE void TL_NAME(tl_pack_transposed)(TL_ELEM *restrict panel, const void *restrict src,
                                           int64_t first, int64_t stride_n, int64_t K,
                                           int64_t valid_k, int64_t cols) {
  enum { CHUNK = 64 * TL_KP };
  TL_ELEM buffer[4][CHUNK];
  for (int64_t j = 0; j < TL_NR; j += 4)
    for (int64_t k = 0; k < K; k += CHUNK) {
      const int64_t n = tl_clamp_extent(TL_ROUND_UP(K, TL_KP) - k, CHUNK),
                    from = first + j * stride_n + k;
      tl_word_u32 *out = (tl_word_u32 *)(panel + k * TL_NR) + j;
      if (TL_IS_PANEL_KIND && j + 4 <= cols && k + n <= valid_k) {
        tl_transpose_rows(out, TL_NR, (const char *)src + from * (int64_t)sizeof(TL_ELEM),
                          stride_n * (int64_t)sizeof(TL_ELEM), n / TL_KP);
        continue;
      }
      for (int64_t i = 0; i < 4; i++) {
        const int64_t present = j + i < cols ? tl_clamp_extent(valid_k - k, n) : 0;
        if (present < n) __builtin_memset(buffer[i], 0, sizeof buffer[i]);
        TL_NAME(tl_pack_run)(buffer[i], src, from + i * stride_n, present);
      }
      tl_transpose_rows(out, TL_NR, (const char *)buffer, sizeof buffer[0], n / TL_KP);
    }
}
#else
#define TL_PACK_WORDS_OF_EIGHT 1
#endif

#define TL_FOR_EACH_PANEL                \
  valid_k = tl_clamp_extent(valid_k, K); \
  TL_ELEM *panel = (TL_ELEM *)panels;    \
  for (int64_t n = 0; n < N; n += TL_NR, panel += TL_NR * TL_ROUND_UP(K, TL_KP))
#define TL_COLS tl_clamp_extent(tl_clamp_extent(valid_n, N) - n, TL_NR)

TL_INLINE void TL_NAME(tl_pack_b_rows)(void *restrict panels, const void *restrict src,
                                       int64_t stride_k, int64_t K, int64_t N, int64_t valid_k,
                                       int64_t valid_n) {
  TL_FOR_EACH_PANEL TL_NAME(tl_pack_lines)(panel, TL_NR, src, n, stride_k, K, valid_k, TL_COLS);
}

TL_INLINE void TL_NAME(tl_pack_b_strided)(void *restrict panels, const void *restrict src,
                                          int64_t stride_k, int64_t stride_n, int64_t K, int64_t N,
                                          int64_t valid_k, int64_t valid_n) {
  TL_FOR_EACH_PANEL TL_NAME(tl_pack_elements)(panel, TL_NR, src, n * stride_n, stride_k, stride_n,
                                              K, valid_k, TL_COLS);
}

TL_INLINE void TL_NAME(tl_pack_b_transposed)(void *restrict panels, const void *restrict src,
                                             int64_t stride_n, int64_t K, int64_t N,
                                             int64_t valid_k, int64_t valid_n) {
#if defined(TL_PACK_WORDS_OF_EIGHT)
  TL_NAME(tl_pack_b_strided)(panels, src, 1, stride_n, K, N, valid_k, valid_n);
#else
  TL_FOR_EACH_PANEL TL_NAME(tl_pack_transposed)(panel, src, n * stride_n, stride_n, K, valid_k,
                                                TL_COLS);
#endif
}

TL_INLINE void TL_NAME(tl_pack_a_rows)(void *restrict scratch, const void *restrict src,
                                       int64_t stride_m, int64_t M, int64_t K, int64_t valid_m,
                                       int64_t valid_k) {
  valid_k = tl_clamp_extent(valid_k, K);
  const int64_t width = TL_ROUND_UP(K, TL_KP);
  for (int64_t m = 0; m < M; m++) {
    TL_ELEM *row = (TL_ELEM *)scratch + m * width;
    if (m < valid_m && valid_k == width) {
      TL_NAME(tl_pack_run)(row, src, m * stride_m, width);
    } else {
      __builtin_memset(row, 0, (size_t)width * sizeof(TL_ELEM));
      TL_NAME(tl_pack_run)(row, src, m * stride_m, m < valid_m ? valid_k : 0);
    }
  }
}

TL_INLINE void TL_NAME(tl_pack_a_columns)(void *restrict scratch, const void *restrict src,
                                          int64_t stride_k, int64_t M, int64_t K, int64_t valid_m,
                                          int64_t valid_k) {
  TL_NAME(tl_pack_lines)((TL_ELEM *)scratch, M, src, 0, stride_k, K, tl_clamp_extent(valid_k, K),
                         tl_clamp_extent(valid_m, M));
}

TL_INLINE void TL_NAME(tl_pack_a_strided)(void *restrict scratch, const void *restrict src,
                                          int64_t stride_m, int64_t stride_k, int64_t M, int64_t K,
                                          int64_t valid_m, int64_t valid_k) {
  TL_NAME(tl_pack_elements)((TL_ELEM *)scratch, M, src, 0, stride_k, stride_m, K,
                            tl_clamp_extent(valid_k, K), tl_clamp_extent(valid_m, M));
}

#undef TL_FOR_EACH_PANEL
#undef TL_COLS
#undef TL_PACK_WORDS_OF_EIGHT
#undef TL_NAME
#undef TL_ELEM
#undef TL_KP
#undef TL_NR
#undef TL_LOAD
#undef TL_IS_PANEL_KIND
#undef TL_FORM
#undef TL_KIND
