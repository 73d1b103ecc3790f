/* Matrix products of a warp group (4 warps, the first a multiple of 4): sm_90a.
 *
 *   tl_wgmma_descriptor<MODE>(p, lead, stride)    a matrix in shared memory, for the functions below;
 *                                                 MODE 1, 2, 3: swizzle of 128, 64, 32 bytes
 *   tl_wgmma_m64n<N>k16_f32_<T>_ss<TA, TB>(d, a, b)     d += a b, a and b descriptors
 *   tl_wgmma_m64n<N>k16_f32_<T>_rs<TB>(d, a, b)         a: registers (8 elements)
 *   ..._ss_new, ..._rs_new     the same with d = a b
 *   tl_wgmma_pin<COUNT>(d)     registers d[0 .. COUNT) are what the text says at this place
 *   tl_wgmma_pin_words<COUNT>(a)   the same for the 32-bit words of an operand
 *   tl_wgmma_fence(...)        registers were written by other instructions; before the first product;
 *                              the arguments say which memory the products read
 *   tl_wgmma_commit()          a group of products ends
 *   tl_wgmma_wait<GROUPS>(...) until so many of the newest groups are left; the arguments say which
 *                              memory those that have ended read
 *
 * T is f16 or bf16; TA, TB are 1 for a matrix whose rows (a) or columns (b) are contiguous rather than
 * k. Element (row, column) of d, with lane 4g + t of warp w: d[4 (column / 8) + 2 h + column % 2] for
 * row 16w + 8h + g, 2t = column % 8 / 2 * 2; of a: as in `mma.h`, with 16 rows per warp.
 *
 * Offset of element (i, k) from p, i a row of a or a column of b, before the swizzle, with S bytes of
 * the mode:
 *
 *   k contiguous:   i % 8 * S + i / 8 * stride + 2 k
 *   i contiguous:   i % (S / 2) * 2 + i / (S / 2) * lead + k % 8 * S + k / 8 * stride
 *
 * All lanes take part. Only the sizes are there that TL_DEFINE_WGMMA(N) asked for. */
#ifndef TL_WGMMA_H
#define TL_WGMMA_H

#include "memory.h"

template <int MODE>
TL_INLINE uint64_t tl_wgmma_descriptor(const void *p, uint32_t lead, uint32_t stride) {
  return (uint64_t)((tl_smem_address(p) & 0x3ffff) >> 4) | (uint64_t)(lead >> 4) << 16 |
         (uint64_t)(stride >> 4) << 32 | (uint64_t)MODE << 62;
}

template <int COUNT>
TL_INLINE void tl_wgmma_pin(float *d) {
#pragma unroll
  for (int i = 0; i < COUNT; i++) asm volatile("" : "+f"(d[i])::"memory");
}

template <int COUNT>
TL_INLINE void tl_wgmma_pin_words(void *a) {
#pragma unroll
  for (int i = 0; i < COUNT; i++) asm volatile("" : "+r"(((uint32_t *)a)[i])::"memory");
}

/* Other targets have no such instruction. */
#ifdef __CUDA_ARCH_FEAT_SM90_ALL

template <class... Pointers>
TL_INLINE void tl_wgmma_fence(Pointers...) {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
TL_INLINE void tl_wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int GROUPS, class... Pointers>
TL_INLINE void tl_wgmma_wait(Pointers...) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(GROUPS) : "memory");
}

/* c: constraint of the sums, D: 1 to add to them, 0 for new ones; X0 ...: numbers of the operands. */
#define TL_WGMMA_SS(N, T, name, c, D, X0, X1, X2, X3, X4, X5)                                  \
  template <int TA, int TB>                                                                    \
  TL_INLINE void tl_wgmma_m64n##N##k16_f32_##T##_##name(float *d, uint64_t a, uint64_t b) {    \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." #T "." #T                   \
                 " {" TL_WGMMA_P##N "}, %" #X0 ", %" #X1 ", " #D ", 1, 1, %" #X2 ", %" #X3 ";" \
                 : TL_WGMMA_D##N(c, d)                                                         \
                 : "l"(a), "l"(b), "n"(TA), "n"(TB));                                          \
  }
#define TL_WGMMA_RS(N, T, name, c, D, X0, X1, X2, X3, X4, X5)                                  \
  template <int TB>                                                                            \
  TL_INLINE void tl_wgmma_m64n##N##k16_f32_##T##_##name(float *d, const void *a, uint64_t b) { \
    const uint32_t *A = (const uint32_t *)a;                                                   \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." #T "." #T                   \
                 " {" TL_WGMMA_P##N "}, {%" #X0 ", %" #X1 ", %" #X2 ", %" #X3 "}, %" #X4 ", "  \
                 #D ", 1, 1, %" #X5 ";"                                                        \
                 : TL_WGMMA_D##N(c, d)                                                         \
                 : "r"(A[0]), "r"(A[1]), "r"(A[2]), "r"(A[3]), "l"(b), "n"(TB));               \
  }
#define TL_WGMMA_FORM(form, ...) form(__VA_ARGS__)
#define TL_WGMMA_FORMS(N, T, X)                         \
  TL_WGMMA_FORM(TL_WGMMA_SS, N, T, ss, "+f", 1, X)      \
  TL_WGMMA_FORM(TL_WGMMA_SS, N, T, ss_new, "=f", 0, X)  \
  TL_WGMMA_FORM(TL_WGMMA_RS, N, T, rs, "+f", 1, X)      \
  TL_WGMMA_FORM(TL_WGMMA_RS, N, T, rs_new, "=f", 0, X)
#define TL_DEFINE_WGMMA(N)                \
  TL_WGMMA_FORMS(N, f16, TL_WGMMA_X##N)   \
  TL_WGMMA_FORMS(N, bf16, TL_WGMMA_X##N)

/* Per N: the registers of d as operands, their places in the text, the numbers of those after. */
#define TL_WGMMA_D8(c, d) c(d[0]), c(d[1]), c(d[2]), c(d[3])
#define TL_WGMMA_P8 "%0, %1, %2, %3"
#define TL_WGMMA_X8 4, 5, 6, 7, 8, 9
#define TL_WGMMA_D16(c, d) TL_WGMMA_D8(c, d), c(d[4]), c(d[5]), c(d[6]), c(d[7])
#define TL_WGMMA_P16 TL_WGMMA_P8 ", %4, %5, %6, %7"
#define TL_WGMMA_X16 8, 9, 10, 11, 12, 13
#define TL_WGMMA_D24(c, d) TL_WGMMA_D16(c, d), c(d[8]), c(d[9]), c(d[10]), c(d[11])
#define TL_WGMMA_P24 TL_WGMMA_P16 ", %8, %9, %10, %11"
#define TL_WGMMA_X24 12, 13, 14, 15, 16, 17
#define TL_WGMMA_D32(c, d) TL_WGMMA_D24(c, d), c(d[12]), c(d[13]), c(d[14]), c(d[15])
#define TL_WGMMA_P32 TL_WGMMA_P24 ", %12, %13, %14, %15"
#define TL_WGMMA_X32 16, 17, 18, 19, 20, 21
#define TL_WGMMA_D40(c, d) TL_WGMMA_D32(c, d), c(d[16]), c(d[17]), c(d[18]), c(d[19])
#define TL_WGMMA_P40 TL_WGMMA_P32 ", %16, %17, %18, %19"
#define TL_WGMMA_X40 20, 21, 22, 23, 24, 25
#define TL_WGMMA_D48(c, d) TL_WGMMA_D40(c, d), c(d[20]), c(d[21]), c(d[22]), c(d[23])
#define TL_WGMMA_P48 TL_WGMMA_P40 ", %20, %21, %22, %23"
#define TL_WGMMA_X48 24, 25, 26, 27, 28, 29
#define TL_WGMMA_D56(c, d) TL_WGMMA_D48(c, d), c(d[24]), c(d[25]), c(d[26]), c(d[27])
#define TL_WGMMA_P56 TL_WGMMA_P48 ", %24, %25, %26, %27"
#define TL_WGMMA_X56 28, 29, 30, 31, 32, 33
#define TL_WGMMA_D64(c, d) TL_WGMMA_D56(c, d), c(d[28]), c(d[29]), c(d[30]), c(d[31])
#define TL_WGMMA_P64 TL_WGMMA_P56 ", %28, %29, %30, %31"
#define TL_WGMMA_X64 32, 33, 34, 35, 36, 37
#define TL_WGMMA_D72(c, d) TL_WGMMA_D64(c, d), c(d[32]), c(d[33]), c(d[34]), c(d[35])
#define TL_WGMMA_P72 TL_WGMMA_P64 ", %32, %33, %34, %35"
#define TL_WGMMA_X72 36, 37, 38, 39, 40, 41
#define TL_WGMMA_D80(c, d) TL_WGMMA_D72(c, d), c(d[36]), c(d[37]), c(d[38]), c(d[39])
#define TL_WGMMA_P80 TL_WGMMA_P72 ", %36, %37, %38, %39"
#define TL_WGMMA_X80 40, 41, 42, 43, 44, 45
#define TL_WGMMA_D88(c, d) TL_WGMMA_D80(c, d), c(d[40]), c(d[41]), c(d[42]), c(d[43])
#define TL_WGMMA_P88 TL_WGMMA_P80 ", %40, %41, %42, %43"
#define TL_WGMMA_X88 44, 45, 46, 47, 48, 49
#define TL_WGMMA_D96(c, d) TL_WGMMA_D88(c, d), c(d[44]), c(d[45]), c(d[46]), c(d[47])
#define TL_WGMMA_P96 TL_WGMMA_P88 ", %44, %45, %46, %47"
#define TL_WGMMA_X96 48, 49, 50, 51, 52, 53
#define TL_WGMMA_D104(c, d) TL_WGMMA_D96(c, d), c(d[48]), c(d[49]), c(d[50]), c(d[51])
#define TL_WGMMA_P104 TL_WGMMA_P96 ", %48, %49, %50, %51"
#define TL_WGMMA_X104 52, 53, 54, 55, 56, 57
#define TL_WGMMA_D112(c, d) TL_WGMMA_D104(c, d), c(d[52]), c(d[53]), c(d[54]), c(d[55])
#define TL_WGMMA_P112 TL_WGMMA_P104 ", %52, %53, %54, %55"
#define TL_WGMMA_X112 56, 57, 58, 59, 60, 61
#define TL_WGMMA_D120(c, d) TL_WGMMA_D112(c, d), c(d[56]), c(d[57]), c(d[58]), c(d[59])
#define TL_WGMMA_P120 TL_WGMMA_P112 ", %56, %57, %58, %59"
#define TL_WGMMA_X120 60, 61, 62, 63, 64, 65
#define TL_WGMMA_D128(c, d) TL_WGMMA_D120(c, d), c(d[60]), c(d[61]), c(d[62]), c(d[63])
#define TL_WGMMA_P128 TL_WGMMA_P120 ", %60, %61, %62, %63"
#define TL_WGMMA_X128 64, 65, 66, 67, 68, 69
#define TL_WGMMA_D136(c, d) TL_WGMMA_D128(c, d), c(d[64]), c(d[65]), c(d[66]), c(d[67])
#define TL_WGMMA_P136 TL_WGMMA_P128 ", %64, %65, %66, %67"
#define TL_WGMMA_X136 68, 69, 70, 71, 72, 73
#define TL_WGMMA_D144(c, d) TL_WGMMA_D136(c, d), c(d[68]), c(d[69]), c(d[70]), c(d[71])
#define TL_WGMMA_P144 TL_WGMMA_P136 ", %68, %69, %70, %71"
#define TL_WGMMA_X144 72, 73, 74, 75, 76, 77
#define TL_WGMMA_D152(c, d) TL_WGMMA_D144(c, d), c(d[72]), c(d[73]), c(d[74]), c(d[75])
#define TL_WGMMA_P152 TL_WGMMA_P144 ", %72, %73, %74, %75"
#define TL_WGMMA_X152 76, 77, 78, 79, 80, 81
#define TL_WGMMA_D160(c, d) TL_WGMMA_D152(c, d), c(d[76]), c(d[77]), c(d[78]), c(d[79])
#define TL_WGMMA_P160 TL_WGMMA_P152 ", %76, %77, %78, %79"
#define TL_WGMMA_X160 80, 81, 82, 83, 84, 85
#define TL_WGMMA_D168(c, d) TL_WGMMA_D160(c, d), c(d[80]), c(d[81]), c(d[82]), c(d[83])
#define TL_WGMMA_P168 TL_WGMMA_P160 ", %80, %81, %82, %83"
#define TL_WGMMA_X168 84, 85, 86, 87, 88, 89
#define TL_WGMMA_D176(c, d) TL_WGMMA_D168(c, d), c(d[84]), c(d[85]), c(d[86]), c(d[87])
#define TL_WGMMA_P176 TL_WGMMA_P168 ", %84, %85, %86, %87"
#define TL_WGMMA_X176 88, 89, 90, 91, 92, 93
#define TL_WGMMA_D184(c, d) TL_WGMMA_D176(c, d), c(d[88]), c(d[89]), c(d[90]), c(d[91])
#define TL_WGMMA_P184 TL_WGMMA_P176 ", %88, %89, %90, %91"
#define TL_WGMMA_X184 92, 93, 94, 95, 96, 97
#define TL_WGMMA_D192(c, d) TL_WGMMA_D184(c, d), c(d[92]), c(d[93]), c(d[94]), c(d[95])
#define TL_WGMMA_P192 TL_WGMMA_P184 ", %92, %93, %94, %95"
#define TL_WGMMA_X192 96, 97, 98, 99, 100, 101
#define TL_WGMMA_D200(c, d) TL_WGMMA_D192(c, d), c(d[96]), c(d[97]), c(d[98]), c(d[99])
#define TL_WGMMA_P200 TL_WGMMA_P192 ", %96, %97, %98, %99"
#define TL_WGMMA_X200 100, 101, 102, 103, 104, 105
#define TL_WGMMA_D208(c, d) TL_WGMMA_D200(c, d), c(d[100]), c(d[101]), c(d[102]), c(d[103])
#define TL_WGMMA_P208 TL_WGMMA_P200 ", %100, %101, %102, %103"
#define TL_WGMMA_X208 104, 105, 106, 107, 108, 109
#define TL_WGMMA_D216(c, d) TL_WGMMA_D208(c, d), c(d[104]), c(d[105]), c(d[106]), c(d[107])
#define TL_WGMMA_P216 TL_WGMMA_P208 ", %104, %105, %106, %107"
#define TL_WGMMA_X216 108, 109, 110, 111, 112, 113
#define TL_WGMMA_D224(c, d) TL_WGMMA_D216(c, d), c(d[108]), c(d[109]), c(d[110]), c(d[111])
#define TL_WGMMA_P224 TL_WGMMA_P216 ", %108, %109, %110, %111"
#define TL_WGMMA_X224 112, 113, 114, 115, 116, 117
#define TL_WGMMA_D232(c, d) TL_WGMMA_D224(c, d), c(d[112]), c(d[113]), c(d[114]), c(d[115])
#define TL_WGMMA_P232 TL_WGMMA_P224 ", %112, %113, %114, %115"
#define TL_WGMMA_X232 116, 117, 118, 119, 120, 121
#define TL_WGMMA_D240(c, d) TL_WGMMA_D232(c, d), c(d[116]), c(d[117]), c(d[118]), c(d[119])
#define TL_WGMMA_P240 TL_WGMMA_P232 ", %116, %117, %118, %119"
#define TL_WGMMA_X240 120, 121, 122, 123, 124, 125
#define TL_WGMMA_D248(c, d) TL_WGMMA_D240(c, d), c(d[120]), c(d[121]), c(d[122]), c(d[123])
#define TL_WGMMA_P248 TL_WGMMA_P240 ", %120, %121, %122, %123"
#define TL_WGMMA_X248 124, 125, 126, 127, 128, 129
#define TL_WGMMA_D256(c, d) TL_WGMMA_D248(c, d), c(d[124]), c(d[125]), c(d[126]), c(d[127])
#define TL_WGMMA_P256 TL_WGMMA_P248 ", %124, %125, %126, %127"
#define TL_WGMMA_X256 128, 129, 130, 131, 132, 133

#endif
#endif
