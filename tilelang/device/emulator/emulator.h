/* CUDA's own words for the host compiler, and what the device headers ask of the runtime.
 *
 * In: generated CUDA text, which includes this through `types.h`. The text and these headers use no
 * system header: 64-bit integers are `long long`, as on the device. Functions declared here are
 * defined in `runtime/`. A thread of a block is a fiber: between two calls of the runtime it runs
 * alone. */
#ifndef TL_EMULATOR_H
#define TL_EMULATOR_H

#define __global__
#define __device__
#define __host__
#define __constant__
#define __managed__
#define __grid_constant__
#define __shared__ thread_local
#define __forceinline__ inline __attribute__((always_inline, unused))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __maxnreg__(...)
#define __cluster_dims__(...)
#define __align__(n) __attribute__((aligned(n)))

/* ---- vector types ---------------------------------------------------------------------------- */

#define TL_EMU_VECTORS(name, T, a2, a4)                                                  \
  struct name##1 { T x; };                                                               \
  struct __align__(a2) name##2 { T x, y; };                                              \
  struct name##3 { T x, y, z; };                                                         \
  struct __align__(a4) name##4 { T x, y, z, w; };                                        \
  static inline __attribute__((unused)) name##1 make_##name##1(T x) { return {x}; }      \
  static inline __attribute__((unused)) name##2 make_##name##2(T x, T y) {               \
    return {x, y};                                                                       \
  }                                                                                      \
  static inline __attribute__((unused)) name##3 make_##name##3(T x, T y, T z) {          \
    return {x, y, z};                                                                    \
  }                                                                                      \
  static inline __attribute__((unused)) name##4 make_##name##4(T x, T y, T z, T w) {     \
    return {x, y, z, w};                                                                 \
  }
TL_EMU_VECTORS(char, signed char, 2, 4)
TL_EMU_VECTORS(uchar, unsigned char, 2, 4)
TL_EMU_VECTORS(short, short, 4, 8)
TL_EMU_VECTORS(ushort, unsigned short, 4, 8)
TL_EMU_VECTORS(int, int, 8, 16)
TL_EMU_VECTORS(uint, unsigned int, 8, 16)
TL_EMU_VECTORS(longlong, long long, 16, 16)
TL_EMU_VECTORS(ulonglong, unsigned long long, 16, 16)
TL_EMU_VECTORS(float, float, 8, 16)
TL_EMU_VECTORS(double, double, 16, 16)

struct dim3 {
  unsigned int x, y, z;
  constexpr dim3(unsigned int x = 1, unsigned int y = 1, unsigned int z = 1) : x(x), y(y), z(z) {}
};

/* ---- who am I -------------------------------------------------------------------------------- */

extern "C" {
uint3 tl_emu_thread_index(void);
uint3 tl_emu_block_index(void);
uint3 tl_emu_block_extent(void);
uint3 tl_emu_grid_extent(void);
int tl_emu_printf(const char *, ...);
__attribute__((noreturn)) void tl_emu_trap(void);
}
#define threadIdx tl_emu_thread_index()
#define blockIdx tl_emu_block_index()
#define blockDim tl_emu_block_extent()
#define gridDim tl_emu_grid_extent()
#define warpSize 32
#define __trap() tl_emu_trap()
#define printf tl_emu_printf

#include "intrinsics.h"

#endif
