/* Matrix products of a warp group (4 warps, the first a multiple of 4): sm_90a.
 *
 *   tl_wgmma_descriptor<MODE>(p, lead, stride)    a matrix in shared memory, for the functions below;
 *                                                 MODE 1, 2, 3: swizzle of 128, 64, 32 bytes
 *   tl_wgmma_m64n<N>k16_f32_<T>_ss<TA, TB>(d, a, b)     d += a b, a and b descriptors
 *   tl_wgmma_m64n<N>k16_f32_<T>_rs<TB>(d, a, b)         a: registers (8 elements)
 *   tl_wgmma_pin<COUNT>(d)     registers d[0 .. COUNT) are what the text says at this place
 *   tl_wgmma_fence()           registers were written by other instructions; before the first product
 *   tl_wgmma_commit()          a group of products ends
 *   tl_wgmma_wait<GROUPS>(...) until so many of the newest groups are left; the arguments say which
 *                              memory those that ended have read
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

/* Above sm_90a's feature test nothing is defined: other targets have no such instruction. */
#ifdef __CUDA_ARCH_FEAT_SM90_ALL

TL_INLINE void tl_wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
TL_INLINE void tl_wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int GROUPS, class... Pointers>
TL_INLINE void tl_wgmma_wait(Pointers...) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(GROUPS) : "memory");
}

#define TL_WGMMA_SS(N, T, D, P, X0, X1, X2, X3, X4, X5)                                      \
  template <int TA, int TB>                                                                  \
  TL_INLINE void tl_wgmma_m64n##N##k16_f32_##T##_ss(float *d, uint64_t a, uint64_t b) {      \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." #T "." #T " {" P "}, %" #X0 \
                 ", %" #X1 ", 1, 1, 1, %" #X2 ", %" #X3 ";"                                  \
                 : D(d)                                                                      \
                 : "l"(a), "l"(b), "n"(TA), "n"(TB));                                        \
  }
#define TL_WGMMA_RS(N, T, D, P, X0, X1, X2, X3, X4, X5)                                      \
  template <int TB>                                                                          \
  TL_INLINE void tl_wgmma_m64n##N##k16_f32_##T##_rs(float *d, const void *a, uint64_t b) {   \
    const uint32_t *A = (const uint32_t *)a;                                                 \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." #T "." #T " {" P "}, {%" #X0 \
                 ", %" #X1 ", %" #X2 ", %" #X3 "}, %" #X4 ", 1, 1, 1, %" #X5 ";"             \
                 : D(d)                                                                      \
                 : "r"(A[0]), "r"(A[1]), "r"(A[2]), "r"(A[3]), "l"(b), "n"(TB));             \
  }
#define TL_WGMMA_FORMS(form, N, T, ...) form(N, T, TL_WGMMA_D##N, TL_WGMMA_P##N, __VA_ARGS__)
#define TL_DEFINE_WGMMA(N)                            \
  TL_WGMMA_FORMS(TL_WGMMA_SS, N, f16, TL_WGMMA_X##N)  \
  TL_WGMMA_FORMS(TL_WGMMA_SS, N, bf16, TL_WGMMA_X##N) \
  TL_WGMMA_FORMS(TL_WGMMA_RS, N, f16, TL_WGMMA_X##N)  \
  TL_WGMMA_FORMS(TL_WGMMA_RS, N, bf16, TL_WGMMA_X##N)

/* Per N: the registers of d as operands, their places in the text, the numbers of those after. */
#define TL_WGMMA_D8(d) "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
#define TL_WGMMA_P8 "%0, %1, %2, %3"
#define TL_WGMMA_X8 4, 5, 6, 7, 8, 9
#define TL_WGMMA_D16(d) TL_WGMMA_D8(d), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7])
#define TL_WGMMA_P16 TL_WGMMA_P8 ", %4, %5, %6, %7"
#define TL_WGMMA_X16 8, 9, 10, 11, 12, 13
#define TL_WGMMA_D24(d) TL_WGMMA_D16(d), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11])
#define TL_WGMMA_P24 TL_WGMMA_P16 ", %8, %9, %10, %11"
#define TL_WGMMA_X24 12, 13, 14, 15, 16, 17
#define TL_WGMMA_D32(d) TL_WGMMA_D24(d), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15])
#define TL_WGMMA_P32 TL_WGMMA_P24 ", %12, %13, %14, %15"
#define TL_WGMMA_X32 16, 17, 18, 19, 20, 21
#define TL_WGMMA_D40(d) TL_WGMMA_D32(d), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19])
#define TL_WGMMA_P40 TL_WGMMA_P32 ", %16, %17, %18, %19"
#define TL_WGMMA_X40 20, 21, 22, 23, 24, 25
#define TL_WGMMA_D48(d) TL_WGMMA_D40(d), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23])
#define TL_WGMMA_P48 TL_WGMMA_P40 ", %20, %21, %22, %23"
#define TL_WGMMA_X48 24, 25, 26, 27, 28, 29
#define TL_WGMMA_D56(d) TL_WGMMA_D48(d), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27])
#define TL_WGMMA_P56 TL_WGMMA_P48 ", %24, %25, %26, %27"
#define TL_WGMMA_X56 28, 29, 30, 31, 32, 33
#define TL_WGMMA_D64(d) TL_WGMMA_D56(d), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
#define TL_WGMMA_P64 TL_WGMMA_P56 ", %28, %29, %30, %31"
#define TL_WGMMA_X64 32, 33, 34, 35, 36, 37
#define TL_WGMMA_D72(d) TL_WGMMA_D64(d), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35])
#define TL_WGMMA_P72 TL_WGMMA_P64 ", %32, %33, %34, %35"
#define TL_WGMMA_X72 36, 37, 38, 39, 40, 41
#define TL_WGMMA_D80(d) TL_WGMMA_D72(d), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39])
#define TL_WGMMA_P80 TL_WGMMA_P72 ", %36, %37, %38, %39"
#define TL_WGMMA_X80 40, 41, 42, 43, 44, 45
#define TL_WGMMA_D88(d) TL_WGMMA_D80(d), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43])
#define TL_WGMMA_P88 TL_WGMMA_P80 ", %40, %41, %42, %43"
#define TL_WGMMA_X88 44, 45, 46, 47, 48, 49
#define TL_WGMMA_D96(d) TL_WGMMA_D88(d), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47])
#define TL_WGMMA_P96 TL_WGMMA_P88 ", %44, %45, %46, %47"
#define TL_WGMMA_X96 48, 49, 50, 51, 52, 53
#define TL_WGMMA_D104(d) TL_WGMMA_D96(d), "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51])
#define TL_WGMMA_P104 TL_WGMMA_P96 ", %48, %49, %50, %51"
#define TL_WGMMA_X104 52, 53, 54, 55, 56, 57
#define TL_WGMMA_D112(d) TL_WGMMA_D104(d), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55])
#define TL_WGMMA_P112 TL_WGMMA_P104 ", %52, %53, %54, %55"
#define TL_WGMMA_X112 56, 57, 58, 59, 60, 61
#define TL_WGMMA_D120(d) TL_WGMMA_D112(d), "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59])
#define TL_WGMMA_P120 TL_WGMMA_P112 ", %56, %57, %58, %59"
#define TL_WGMMA_X120 60, 61, 62, 63, 64, 65
#define TL_WGMMA_D128(d) TL_WGMMA_D120(d), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
#define TL_WGMMA_P128 TL_WGMMA_P120 ", %60, %61, %62, %63"
#define TL_WGMMA_X128 64, 65, 66, 67, 68, 69
#define TL_WGMMA_D136(d) TL_WGMMA_D128(d), "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67])
#define TL_WGMMA_P136 TL_WGMMA_P128 ", %64, %65, %66, %67"
#define TL_WGMMA_X136 68, 69, 70, 71, 72, 73
#define TL_WGMMA_D144(d) TL_WGMMA_D136(d), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), "+f"(d[71])
#define TL_WGMMA_P144 TL_WGMMA_P136 ", %68, %69, %70, %71"
#define TL_WGMMA_X144 72, 73, 74, 75, 76, 77
#define TL_WGMMA_D152(d) TL_WGMMA_D144(d), "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75])
#define TL_WGMMA_P152 TL_WGMMA_P144 ", %72, %73, %74, %75"
#define TL_WGMMA_X152 76, 77, 78, 79, 80, 81
#define TL_WGMMA_D160(d) TL_WGMMA_D152(d), "+f"(d[76]), "+f"(d[77]), "+f"(d[78]), "+f"(d[79])
#define TL_WGMMA_P160 TL_WGMMA_P152 ", %76, %77, %78, %79"
#define TL_WGMMA_X160 80, 81, 82, 83, 84, 85
#define TL_WGMMA_D168(d) TL_WGMMA_D160(d), "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83])
#define TL_WGMMA_P168 TL_WGMMA_P160 ", %80, %81, %82, %83"
#define TL_WGMMA_X168 84, 85, 86, 87, 88, 89
#define TL_WGMMA_D176(d) TL_WGMMA_D168(d), "+f"(d[84]), "+f"(d[85]), "+f"(d[86]), "+f"(d[87])
#define TL_WGMMA_P176 TL_WGMMA_P168 ", %84, %85, %86, %87"
#define TL_WGMMA_X176 88, 89, 90, 91, 92, 93
#define TL_WGMMA_D184(d) TL_WGMMA_D176(d), "+f"(d[88]), "+f"(d[89]), "+f"(d[90]), "+f"(d[91])
#define TL_WGMMA_P184 TL_WGMMA_P176 ", %88, %89, %90, %91"
#define TL_WGMMA_X184 92, 93, 94, 95, 96, 97
#define TL_WGMMA_D192(d) TL_WGMMA_D184(d), "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95])
#define TL_WGMMA_P192 TL_WGMMA_P184 ", %92, %93, %94, %95"
#define TL_WGMMA_X192 96, 97, 98, 99, 100, 101
#define TL_WGMMA_D200(d) TL_WGMMA_D192(d), "+f"(d[96]), "+f"(d[97]), "+f"(d[98]), "+f"(d[99])
#define TL_WGMMA_P200 TL_WGMMA_P192 ", %96, %97, %98, %99"
#define TL_WGMMA_X200 100, 101, 102, 103, 104, 105
#define TL_WGMMA_D208(d) TL_WGMMA_D200(d), "+f"(d[100]), "+f"(d[101]), "+f"(d[102]), "+f"(d[103])
#define TL_WGMMA_P208 TL_WGMMA_P200 ", %100, %101, %102, %103"
#define TL_WGMMA_X208 104, 105, 106, 107, 108, 109
#define TL_WGMMA_D216(d) TL_WGMMA_D208(d), "+f"(d[104]), "+f"(d[105]), "+f"(d[106]), "+f"(d[107])
#define TL_WGMMA_P216 TL_WGMMA_P208 ", %104, %105, %106, %107"
#define TL_WGMMA_X216 108, 109, 110, 111, 112, 113
#define TL_WGMMA_D224(d) TL_WGMMA_D216(d), "+f"(d[108]), "+f"(d[109]), "+f"(d[110]), "+f"(d[111])
#define TL_WGMMA_P224 TL_WGMMA_P216 ", %108, %109, %110, %111"
#define TL_WGMMA_X224 112, 113, 114, 115, 116, 117
#define TL_WGMMA_D232(d) TL_WGMMA_D224(d), "+f"(d[112]), "+f"(d[113]), "+f"(d[114]), "+f"(d[115])
#define TL_WGMMA_P232 TL_WGMMA_P224 ", %112, %113, %114, %115"
#define TL_WGMMA_X232 116, 117, 118, 119, 120, 121
#define TL_WGMMA_D240(d) TL_WGMMA_D232(d), "+f"(d[116]), "+f"(d[117]), "+f"(d[118]), "+f"(d[119])
#define TL_WGMMA_P240 TL_WGMMA_P232 ", %116, %117, %118, %119"
#define TL_WGMMA_X240 120, 121, 122, 123, 124, 125
#define TL_WGMMA_D248(d) TL_WGMMA_D240(d), "+f"(d[120]), "+f"(d[121]), "+f"(d[122]), "+f"(d[123])
#define TL_WGMMA_P248 TL_WGMMA_P240 ", %120, %121, %122, %123"
#define TL_WGMMA_X248 124, 125, 126, 127, 128, 129
#define TL_WGMMA_D256(d) TL_WGMMA_D248(d), "+f"(d[124]), "+f"(d[125]), "+f"(d[126]), "+f"(d[127])
#define TL_WGMMA_P256 TL_WGMMA_P248 ", %124, %125, %126, %127"
#define TL_WGMMA_X256 128, 129, 130, 131, 132, 133

#endif
#endif
