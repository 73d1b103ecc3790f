/* Matrix products of one warp in registers: d = a * b + c, A row-major, B column-major.
 *
 *   tl_mma_<shape>_<C type>_<A and B type>(d, a, b, c)          shapes in words of a, b, c and d:
 *
 *   types                    m8n8k4  m8n8k16  m16n8k4  m16n8k8  m16n8k16  m16n8k32     from
 *   f32_f16, f16_f16                                   2 1 4    4 2 4                  sm_75, sm_80
 *                                                      (C f16: 2 1 2, 4 2 2)
 *   f32_bf16                                           2 1 4    4 2 4                  sm_80
 *   f32_tf32                                  2 1 4    4 2 4                           sm_80
 *   f64_f64 (64-bit words)   1 1 2            2 1 4    4 2 4    8 4 4                  sm_80; M=16 sm_90
 *   s32_s8, s32_u8,                  1 1 2                      2 1 4     4 2 4        sm_75; M=16 sm_80
 *     s32_s8_u8, s32_u8_s8   (A, then B); _satfinite clamps where the others wrap
 *   f32_e4m3, f32_e5m2,                                                   4 2 4        sm_89
 *     f32_e4m3_e5m2, f32_e5m2_e4m3; f16_ likewise (4 2 2)
 *
 * With b bits per element, P = 32 / b (1 for tf32 and f64), lane = 4g + t, element j of word r:
 *
 *   A, M = 16:  row g + 8 (r & 1),  k = P t + j + 4 P (r >> 1)
 *   A, M = 8:   row g,              k = P t + j + 4 P r
 *   B:          column g,           k = P t + j + 4 P r
 *   C, D:       row g + 8 (i >> 1), column 2t + (i & 1),    element i = 0..3 (M = 8: 0, 1)
 *
 * Pointers are to register arrays, aligned to their words; d and c may be the same. tf32 operands
 * are float32 whose low 13 bits are ignored. All lanes take part. On sm_90 the e4m3 and e5m2 forms
 * are several instructions. */
#ifndef TL_MMA_H
#define TL_MMA_H

#include "types.h"

#define TL_MMA_HEAD(AB, CD)                                                      \
  const AB *A = (const AB *)a, *B = (const AB *)b;                               \
  const CD *C = (const CD *)c;                                                   \
  CD *D = (CD *)d;
#define TL_MMA_NAME(name) \
  TL_INLINE void tl_mma_##name(void *d, const void *a, const void *b, const void *c)

/* Suffix: words of a, b, c. AB, CD: types of a word; ab, cd: their constraints. */
#define TL_MMA_1_1_2(name, mnemonic, AB, ab, CD, cd)                             \
  TL_MMA_NAME(name) {                                                            \
    TL_MMA_HEAD(AB, CD)                                                          \
    asm volatile("mma.sync.aligned." mnemonic " {%0, %1}, {%2}, {%3}, {%4, %5};" \
                 : "=" cd(D[0]), "=" cd(D[1])                                    \
                 : ab(A[0]), ab(B[0]), cd(C[0]), cd(C[1]));                      \
  }
#define TL_MMA_2_1_2(name, mnemonic, AB, ab, CD, cd)                             \
  TL_MMA_NAME(name) {                                                            \
    TL_MMA_HEAD(AB, CD)                                                          \
    asm volatile("mma.sync.aligned." mnemonic                                    \
                 " {%0, %1}, {%2, %3}, {%4}, {%5, %6};"                          \
                 : "=" cd(D[0]), "=" cd(D[1])                                    \
                 : ab(A[0]), ab(A[1]), ab(B[0]), cd(C[0]), cd(C[1]));            \
  }
#define TL_MMA_4_2_2(name, mnemonic, AB, ab, CD, cd)                             \
  TL_MMA_NAME(name) {                                                            \
    TL_MMA_HEAD(AB, CD)                                                          \
    asm volatile("mma.sync.aligned." mnemonic                                    \
                 " {%0, %1}, {%2, %3, %4, %5}, {%6, %7}, {%8, %9};"              \
                 : "=" cd(D[0]), "=" cd(D[1])                                    \
                 : ab(A[0]), ab(A[1]), ab(A[2]), ab(A[3]), ab(B[0]), ab(B[1]),   \
                   cd(C[0]), cd(C[1]));                                          \
  }
#define TL_MMA_2_1_4(name, mnemonic, AB, ab, CD, cd)                             \
  TL_MMA_NAME(name) {                                                            \
    TL_MMA_HEAD(AB, CD)                                                          \
    asm volatile("mma.sync.aligned." mnemonic                                    \
                 " {%0, %1, %2, %3}, {%4, %5}, {%6}, {%7, %8, %9, %10};"         \
                 : "=" cd(D[0]), "=" cd(D[1]), "=" cd(D[2]), "=" cd(D[3])        \
                 : ab(A[0]), ab(A[1]), ab(B[0]), cd(C[0]), cd(C[1]), cd(C[2]),   \
                   cd(C[3]));                                                    \
  }
#define TL_MMA_4_2_4(name, mnemonic, AB, ab, CD, cd)                             \
  TL_MMA_NAME(name) {                                                            \
    TL_MMA_HEAD(AB, CD)                                                          \
    asm volatile("mma.sync.aligned." mnemonic " {%0, %1, %2, %3},"               \
                 " {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"            \
                 : "=" cd(D[0]), "=" cd(D[1]), "=" cd(D[2]), "=" cd(D[3])        \
                 : ab(A[0]), ab(A[1]), ab(A[2]), ab(A[3]), ab(B[0]), ab(B[1]),   \
                   cd(C[0]), cd(C[1]), cd(C[2]), cd(C[3]));                      \
  }
#define TL_MMA_8_4_4(name, mnemonic, AB, ab, CD, cd)                             \
  TL_MMA_NAME(name) {                                                            \
    TL_MMA_HEAD(AB, CD)                                                          \
    asm volatile("mma.sync.aligned." mnemonic " {%0, %1, %2, %3},"               \
                 " {%4, %5, %6, %7, %8, %9, %10, %11}, {%12, %13, %14, %15},"    \
                 " {%16, %17, %18, %19};"                                        \
                 : "=" cd(D[0]), "=" cd(D[1]), "=" cd(D[2]), "=" cd(D[3])        \
                 : ab(A[0]), ab(A[1]), ab(A[2]), ab(A[3]), ab(A[4]), ab(A[5]),   \
                   ab(A[6]), ab(A[7]), ab(B[0]), ab(B[1]), ab(B[2]), ab(B[3]),   \
                   cd(C[0]), cd(C[1]), cd(C[2]), cd(C[3]));                      \
  }

#define TL_MMA_F32(words, shape, name, ptx) \
  TL_MMA_##words(shape##_f32_##name, #shape ".row.col." ptx, uint32_t, "r", float, "f")
#define TL_MMA_F16(words, shape, name, ptx) \
  TL_MMA_##words(shape##_f16_##name, #shape ".row.col." ptx, uint32_t, "r", uint32_t, "r")
#define TL_MMA_F64(words, shape) \
  TL_MMA_##words(shape##_f64_f64, #shape ".row.col.f64.f64.f64.f64", double, "d", double, "d")
#define TL_MMA_S32(words, shape, name, types)                                              \
  TL_MMA_##words(shape##_s32_##name, #shape ".row.col.s32." types ".s32", uint32_t, "r",   \
                 uint32_t, "r")                                                            \
  TL_MMA_##words(shape##_s32_##name##_satfinite, #shape ".row.col.satfinite.s32." types    \
                 ".s32", uint32_t, "r", uint32_t, "r")
#define TL_MMA_S32_ALL(words, shape)           \
  TL_MMA_S32(words, shape, s8, "s8.s8")        \
  TL_MMA_S32(words, shape, u8, "u8.u8")        \
  TL_MMA_S32(words, shape, s8_u8, "s8.u8")     \
  TL_MMA_S32(words, shape, u8_s8, "u8.s8")

TL_MMA_F32(2_1_4, m16n8k8, f16, "f32.f16.f16.f32")
TL_MMA_F16(2_1_2, m16n8k8, f16, "f16.f16.f16.f16")
TL_MMA_S32_ALL(1_1_2, m8n8k16)

#if __CUDA_ARCH__ >= 800
TL_MMA_F32(4_2_4, m16n8k16, f16, "f32.f16.f16.f32")
TL_MMA_F16(4_2_2, m16n8k16, f16, "f16.f16.f16.f16")
TL_MMA_F32(2_1_4, m16n8k8, bf16, "f32.bf16.bf16.f32")
TL_MMA_F32(4_2_4, m16n8k16, bf16, "f32.bf16.bf16.f32")
TL_MMA_F32(2_1_4, m16n8k4, tf32, "f32.tf32.tf32.f32")
TL_MMA_F32(4_2_4, m16n8k8, tf32, "f32.tf32.tf32.f32")
TL_MMA_F64(1_1_2, m8n8k4)
TL_MMA_S32_ALL(2_1_4, m16n8k16)
TL_MMA_S32_ALL(4_2_4, m16n8k32)
#endif

#if __CUDA_ARCH__ >= 890
TL_MMA_F32(4_2_4, m16n8k32, e4m3, "f32.e4m3.e4m3.f32")
TL_MMA_F32(4_2_4, m16n8k32, e5m2, "f32.e5m2.e5m2.f32")
TL_MMA_F32(4_2_4, m16n8k32, e4m3_e5m2, "f32.e4m3.e5m2.f32")
TL_MMA_F32(4_2_4, m16n8k32, e5m2_e4m3, "f32.e5m2.e4m3.f32")
TL_MMA_F16(4_2_2, m16n8k32, e4m3, "f16.e4m3.e4m3.f16")
TL_MMA_F16(4_2_2, m16n8k32, e5m2, "f16.e5m2.e5m2.f16")
TL_MMA_F16(4_2_2, m16n8k32, e4m3_e5m2, "f16.e4m3.e5m2.f16")
TL_MMA_F16(4_2_2, m16n8k32, e5m2_e4m3, "f16.e5m2.e4m3.f16")
#endif

#if __CUDA_ARCH__ >= 900
TL_MMA_F64(2_1_4, m16n8k4)
TL_MMA_F64(4_2_4, m16n8k8)
TL_MMA_F64(8_4_4, m16n8k16)
#endif

#endif
