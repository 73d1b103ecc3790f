/* C[M,N] (+)= A[M,K] B[K,N] on tiles: a register-tiled micro-kernel over packed panels of B.
 *
 * A template: define TL_FORM (f32, bf16, f64, i16, i32: gemm_panel.h), then include, once per form.
 * Defines, with the form appended (tl_gemm_f32):
 *
 *   tl_gemm(c, ldc, a, stride_m, stride_kp, panels, M, N, K, clear)
 *
 * All but the addresses should be constants; everything inlines and folds.
 *   c        row-major accumulators, leading dimension ldc
 *   a        panel elements; element (m, k) at m * stride_m + k / KP * stride_kp + k % KP.
 *              in place (its kind is the panel element's, and KP == 1 or stride_k == 1):
 *                               stride_m, KP * stride_k, and K as it is, odd or even
 *              packed rows:     TL_PANEL_K(form, K), KP,     and K = TL_PANEL_K(form, K)
 *              packed columns:  KP,             M * KP,      and K = TL_PANEL_K(form, K)
 *   panels   B from tl_pack_b_* (gemm_pack.h), which reads any strided source: a global tile or a
 *            shared one
 *   clear    store the product instead of adding it; c is then not read
 *
 * Reads nothing outside A's M x K elements and the panels, writes nothing outside C's M x N. For a
 * C of 16-bit floats: a cleared float32 product, then tl_accumulate_* below, so that each call
 * rounds once. */
#if !defined(TL_FORM)
#define TL_FORM f32
#endif

#include "gemm_panel.h"

#ifndef TL_GEMM_H
#define TL_GEMM_H

#define TL_VECTOR_OF(elem) __attribute__((vector_size(TL_VECTOR_BYTES), aligned(1), may_alias)) elem
typedef TL_VECTOR_OF(float) tl_vec_f32;
typedef TL_VECTOR_OF(double) tl_vec_f64;
typedef TL_VECTOR_OF(int32_t) tl_vec_i32;

/* Per form: vectors of panel words; the product of a word of A with a vector of words of B. */
typedef tl_vec_f32 tl_words_f32;
typedef tl_vec_f64 tl_words_f64;
typedef tl_vec_i32 tl_words_i32, tl_words_bf16, tl_words_i16;

TL_INLINE tl_vec_f32 tl_madd_f32(tl_vec_f32 c, float a, tl_vec_f32 b) { return c + a * b; }
TL_INLINE tl_vec_f64 tl_madd_f64(tl_vec_f64 c, double a, tl_vec_f64 b) { return c + a * b; }
TL_INLINE tl_vec_i32 tl_madd_i32(tl_vec_i32 c, int32_t a, tl_vec_i32 b) { return c + a * b; }
#if defined(TL_HAS_PANEL_bf16)
TL_INLINE tl_vec_f32 tl_madd_bf16(tl_vec_f32 c, int32_t a, tl_vec_i32 b) {
  __asm__("vdpbf16ps %2, %1, %0" : "+v"(c) : "v"(b), "v"(a + (tl_vec_i32){0}));
  return c;
}
#endif
#if defined(TL_HAS_PANEL_i16)
TL_INLINE tl_vec_i32 tl_madd_i16(tl_vec_i32 c, int32_t a, tl_vec_i32 b) {
  __asm__("vpdpwssd %2, %1, %0" : "+v"(c) : "v"(b), "v"(a + (tl_vec_i32){0}));
  return c;
}
#endif

/* c[M,N] (+)= x[M,N], x dense float32: rounds each element once. */
#define TL_DEFINE_ACCUMULATE(kind)                                                                 \
  TL_INLINE void tl_accumulate_##kind(tl_##kind *restrict c, int64_t ldc, const float *restrict x, \
                                      int64_t M, int64_t N, int clear) {                           \
    for (int64_t i = 0; i < M; i++) TL_SIMD                                                        \
    for (int64_t j = 0; j < N; j++)                                                                \
      c[i * ldc + j] = tl_float32_to_##kind(                                                       \
          clear ? x[i * N + j] : x[i * N + j] + tl_##kind##_to_float32(c[i * ldc + j]));           \
  }
TL_DEFINE_ACCUMULATE(float16)
TL_DEFINE_ACCUMULATE(bfloat16)

#endif

#define TL_NAME(base) TL_PASTE2(base, TL_FORM)
#define TL_ELEM TL_NAME(TL_ELEM_)
#define TL_KP TL_NAME(TL_KP_)
#define TL_ACC TL_NAME(TL_ACC_)
#define TL_LANES (TL_VECTOR_BYTES / (int)sizeof(TL_ACC))
typedef TL_VECTOR_OF(TL_ACC) TL_NAME(tl_acc_);
typedef __attribute__((aligned(1), may_alias)) TL_NAME(TL_WORD_) TL_NAME(tl_word_);

/* One strip of `mr` rows times one panel, `nv` vectors wide. The accumulators stay in registers
 * because every index is constant once unrolled. With KP == 2 and odd K the last word of A is half
 * a word. */
TL_INLINE void TL_NAME(tl_gemm_strip_)(TL_ACC *restrict out, int64_t ld, const TL_ELEM *restrict a,
                                       int64_t stride_m, int64_t stride_kp,
                                       const TL_NAME(tl_words_) *restrict panel, int64_t K, int mr,
                                       int nv, int clear) {
  TL_NAME(tl_acc_) c[TL_GEMM_MR][2];
  TL_NAME(tl_words_) b[2];
  TL_UNROLL for (int i = 0; i < mr; i++)
    TL_UNROLL for (int j = 0; j < nv; j++) c[i][j] = (TL_NAME(tl_acc_)){0};
  for (int64_t k = 0; k < K / TL_KP; k++, a += stride_kp, panel += 2) {
    TL_UNROLL for (int j = 0; j < nv; j++) b[j] = panel[j];
    TL_UNROLL for (int i = 0; i < mr; i++)
    TL_UNROLL for (int j = 0; j < nv; j++)
      c[i][j] = TL_NAME(tl_madd_)(c[i][j], *(const TL_NAME(tl_word_) *)(a + i * stride_m), b[j]);
  }
#if TL_PASTE2(TL_KP_, TL_FORM) == 2
  if (K % 2) {
    TL_UNROLL for (int j = 0; j < nv; j++) b[j] = panel[j];
    TL_UNROLL for (int i = 0; i < mr; i++)
    TL_UNROLL for (int j = 0; j < nv; j++)
      c[i][j] = TL_NAME(tl_madd_)(c[i][j], (uint16_t)a[i * stride_m], b[j]);
  }
#endif
  TL_UNROLL for (int i = 0; i < mr; i++)
    TL_UNROLL for (int j = 0; j < nv; j++) {
    TL_NAME(tl_acc_) *o = (TL_NAME(tl_acc_) *)(out + i * ld + j * TL_LANES);
    if (!clear) c[i][j] += *o;
    *o = c[i][j];
  }
}

/* The strip where C has only `cols` columns, not whole vectors: through a buffer. */
TL_INLINE void TL_NAME(tl_gemm_narrow_strip_)(TL_ACC *restrict c, int64_t ldc,
                                              const TL_ELEM *restrict a, int64_t stride_m,
                                              int64_t stride_kp,
                                              const TL_NAME(tl_words_) *restrict panel, int64_t K,
                                              int mr, int64_t cols, int clear) {
  TL_ACC x[TL_GEMM_MR * 2 * TL_LANES] __attribute__((aligned(64)));
  TL_NAME(tl_gemm_strip_)(x, 2 * TL_LANES, a, stride_m, stride_kp, panel, K, mr,
                          cols > TL_LANES ? 2 : 1, 1);
  for (int i = 0; i < mr; i++)
    for (int64_t j = 0; j < cols; j++)
      c[i * ldc + j] = clear ? x[2 * i * TL_LANES + j] : c[i * ldc + j] + x[2 * i * TL_LANES + j];
}

/* All strips over one panel: M rows in strips as even as possible, the first M % strips one row
 * taller. */
TL_INLINE void TL_NAME(tl_gemm_panel_)(TL_ACC *restrict c, int64_t ldc, const TL_ELEM *restrict a,
                                       int64_t stride_m, int64_t stride_kp,
                                       const TL_NAME(tl_words_) *restrict panel, int64_t M,
                                       int64_t cols, int64_t K, int clear) {
  const int64_t strips = (M + TL_GEMM_MR - 1) / TL_GEMM_MR;
  const int mr = (int)(M / strips), tall = (int)(M % strips) * (mr + 1);
  const int nv = (int)(cols / TL_LANES);
#define TL_STRIP(rows)                                                                             \
  if (cols % TL_LANES == 0)                                                                        \
    TL_NAME(tl_gemm_strip_)(c + m * ldc, ldc, a + m * stride_m, stride_m, stride_kp, panel, K,     \
                            rows, nv, clear);                                                      \
  else                                                                                             \
    TL_NAME(tl_gemm_narrow_strip_)(c + m * ldc, ldc, a + m * stride_m, stride_m, stride_kp, panel, \
                                   K, rows, cols, clear);
  for (int64_t m = 0; m < tall; m += mr + 1) {
    TL_STRIP(mr + 1)
  }
  for (int64_t m = tall; m < M; m += mr) {
    TL_STRIP(mr)
  }
#undef TL_STRIP
}

TL_INLINE void TL_NAME(tl_gemm_)(void *restrict c, int64_t ldc, const void *restrict a,
                                 int64_t stride_m, int64_t stride_kp, const void *restrict panels,
                                 int64_t M, int64_t N, int64_t K, int clear) {
  const int64_t nr = 2 * TL_LANES, rest = N % nr;
  const TL_NAME(tl_words_) *panel = (const TL_NAME(tl_words_) *)panels;
  TL_ACC *out = (TL_ACC *)c;
  for (int64_t n = 0; n + nr <= N; n += nr, panel += 2 * ((K + TL_KP - 1) / TL_KP))
    TL_NAME(tl_gemm_panel_)(out + n, ldc, (const TL_ELEM *)a, stride_m, stride_kp, panel, M, nr, K,
                            clear);
  if (rest)
    TL_NAME(tl_gemm_panel_)(out + N - rest, ldc, (const TL_ELEM *)a, stride_m, stride_kp, panel, M,
                            rest, K, clear);
}

#undef TL_NAME
#undef TL_ELEM
#undef TL_KP
#undef TL_ACC
#undef TL_LANES
#undef TL_FORM
