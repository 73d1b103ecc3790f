/* What the operands of gemm.h look like once packed: panel forms, their sizes, and element kinds.
 *
 *   form   element   KP  accumulator  used for (A and B element kinds)
 *   f32    float      1  float        float32, and every smaller float unless below
 *   bf16   uint16_t   2  float        bfloat16, float8_* except e8m0fnu, float6_*, float4_*:
 *                                     where TL_HAS_PANEL_bf16
 *   f64    double     1  double       every float up to float64
 *   i16    int16_t    2  int32_t      (u)int8, (u)int4: where TL_HAS_PANEL_i16
 *   i32    int32_t    1  int32_t      every integer up to 32 bits
 *
 *   isa        test macro              vector bytes V   MR   bf16 form             i16 form
 *   avx512     __AVX512F__             64               14   __AVX512BF16__        __AVX512VNNI__
 *   avx2       __AVX2__ and __FMA__    32                6   no                    no
 *   neon       __aarch64__             16               12   no                    no
 *   portable   otherwise               16                6   no                    no
 *
 *   NR = 2 * V / sizeof(accumulator): 32, 16, 8, 8 columns; 16, 8, 4, 4 for f64.
 *
 * B:  panels [ceil(N/NR)][ceil(K/KP)][NR][KP], absent elements zero; TL_PANEL_B_BYTES.
 * A:  where it cannot be read in place, rows [M][ceil(K/KP)*KP] from a source with stride_k == 1,
 *     or columns [ceil(K/KP)][M][KP] from any other; absent elements zero; TL_PANEL_A_BYTES.
 *
 * Element kinds have the names of the dtypes; float4_e2m1fn, int4 and uint4 lie two per byte, the
 * even index in the low half, and float4_e2m1_unpacked one per byte. */
#ifndef TL_GEMM_PANEL_H
#define TL_GEMM_PANEL_H

#include <stddef.h>

#include "types.h"

#if defined(__AVX512F__)
#define TL_VECTOR_BYTES 64
#define TL_GEMM_MR 14
#elif defined(__AVX2__) && defined(__FMA__)
#define TL_VECTOR_BYTES 32
#define TL_GEMM_MR 6
#elif defined(__aarch64__)
#define TL_VECTOR_BYTES 16
#define TL_GEMM_MR 12
#else
#define TL_VECTOR_BYTES 16
#define TL_GEMM_MR 6
#endif

#if defined(__AVX512F__) && defined(__AVX512BF16__)
#define TL_HAS_PANEL_bf16 1
#endif
#if defined(__AVX512F__) && defined(__AVX512VNNI__)
#define TL_HAS_PANEL_i16 1
#endif

/* Per form: panel element, KP, accumulator, the word of A one product reads. */
#define TL_ELEM_f32 float
#define TL_ELEM_bf16 uint16_t
#define TL_ELEM_f64 double
#define TL_ELEM_i16 int16_t
#define TL_ELEM_i32 int32_t
#define TL_KP_f32 1
#define TL_KP_bf16 2
#define TL_KP_f64 1
#define TL_KP_i16 2
#define TL_KP_i32 1
#define TL_ACC_f32 float
#define TL_ACC_bf16 float
#define TL_ACC_f64 double
#define TL_ACC_i16 int32_t
#define TL_ACC_i32 int32_t
#define TL_WORD_f32 float
#define TL_WORD_bf16 int32_t
#define TL_WORD_f64 double
#define TL_WORD_i16 int32_t
#define TL_WORD_i32 int32_t

#define TL_ROUND_UP(x, to) (((x) + (to) - 1) / (to) * (to))
#define TL_PANEL_NR(form) (2 * TL_VECTOR_BYTES / (int)sizeof(TL_ACC_##form))
#define TL_PANEL_K(form, K) TL_ROUND_UP(K, TL_KP_##form)
#define TL_PANEL_B_BYTES(form, N, K) \
  (TL_ROUND_UP(N, TL_PANEL_NR(form)) * TL_PANEL_K(form, K) * (int64_t)sizeof(TL_ELEM_##form))
#define TL_PANEL_A_BYTES(form, M, K) ((M) * TL_PANEL_K(form, K) * (int64_t)sizeof(TL_ELEM_##form))

/* Kinds whose elements are panel elements as they stand have the number of that form. */
#define TL_FORM_ID_f32 1
#define TL_FORM_ID_bf16 2
#define TL_FORM_ID_f64 3
#define TL_FORM_ID_i16 4
#define TL_FORM_ID_i32 5
#define TL_KIND_ID_float32 1
#define TL_KIND_ID_bfloat16 2
#define TL_KIND_ID_float64 3
#define TL_KIND_ID_int16 4
#define TL_KIND_ID_int32 5
#define TL_KIND_ID_uint32 5
#define TL_KIND_ID_float16 6

/* Full unrolling of loops over compile-time ranges: what keeps accumulators in registers. */
#if defined(__clang__)
#define TL_UNROLL _Pragma("unroll")
#else
#define TL_UNROLL _Pragma("GCC unroll 64")
#endif
#define TL_SIMD _Pragma("omp simd")

#define TL_PASTE3_(a, b, c) a##_##b##_##c
#define TL_PASTE2_(a, b) a##b
#define TL_PASTE3(a, b, c) TL_PASTE3_(a, b, c)
#define TL_PASTE2(a, b) TL_PASTE2_(a, b)

/* tl_load_<kind>(p, i): element i of p, widened to the smallest type that holds every kind of its
 * sort. */
#define TL_DEFINE_LOAD(kind, type, storage, convert)        \
  TL_INLINE type tl_load_##kind(const void *p, int64_t i) { \
    return convert(((const storage *)p)[i]);                \
  }
#define TL_DEFINE_LOAD_AS_FLOAT(kind) TL_DEFINE_LOAD(kind, float, tl_##kind, tl_##kind##_to_float32)

TL_DEFINE_LOAD(float32, float, float, )
TL_DEFINE_LOAD(float64, double, double, )
TL_DEFINE_LOAD_AS_FLOAT(float16)
TL_DEFINE_LOAD_AS_FLOAT(bfloat16)
TL_DEFINE_LOAD_AS_FLOAT(float8_e3m4)
TL_DEFINE_LOAD_AS_FLOAT(float8_e4m3)
TL_DEFINE_LOAD_AS_FLOAT(float8_e4m3fn)
TL_DEFINE_LOAD_AS_FLOAT(float8_e4m3fnuz)
TL_DEFINE_LOAD_AS_FLOAT(float8_e4m3b11fnuz)
TL_DEFINE_LOAD_AS_FLOAT(float8_e5m2)
TL_DEFINE_LOAD_AS_FLOAT(float8_e5m2fnuz)
TL_DEFINE_LOAD_AS_FLOAT(float8_e8m0fnu)
TL_DEFINE_LOAD_AS_FLOAT(float6_e2m3fn)
TL_DEFINE_LOAD_AS_FLOAT(float6_e3m2fn)
TL_DEFINE_LOAD(float4_e2m1_unpacked, float, uint8_t, tl_float4_e2m1fn_to_float32)
TL_DEFINE_LOAD(int8, int32_t, int8_t, )
TL_DEFINE_LOAD(uint8, int32_t, uint8_t, )
TL_DEFINE_LOAD(int16, int32_t, int16_t, )
TL_DEFINE_LOAD(uint16, int32_t, uint16_t, )
TL_DEFINE_LOAD(int32, int32_t, int32_t, )
TL_DEFINE_LOAD(uint32, int32_t, int32_t, ) /* sums and products are modulo 2^32 */

TL_INLINE float tl_load_float4_e2m1fn(const void *p, int64_t i) {
  return tl_float4_e2m1fn_to_float32(tl_nibble_get((const uint8_t *)p, i));
}
TL_INLINE int32_t tl_load_int4(const void *p, int64_t i) {
  return tl_int4_get((const uint8_t *)p, i);
}
TL_INLINE int32_t tl_load_uint4(const void *p, int64_t i) {
  return tl_uint4_get((const uint8_t *)p, i);
}

/* tl_panel_<form>(x): a loaded element as panel element. */
TL_INLINE float tl_panel_f32(float x) { return x; }
TL_INLINE double tl_panel_f64(double x) { return x; }
TL_INLINE int32_t tl_panel_i32(int32_t x) { return x; }
TL_INLINE int16_t tl_panel_i16(int32_t x) { return (int16_t)x; }
TL_INLINE uint16_t tl_panel_bf16(float x) { return (uint16_t)(tl_float32_to_bits(x) >> 16); }

#endif
