/* Tiles between shared memory and registers, and products of them: `ldmatrix`, `stmatrix`,
 * `movmatrix`, `mma`. Fragment layouts: lane 4g + t; see the heads of `cuda/ldmatrix.h` and
 * `cuda/mma.h`. */
#ifndef TL_EMU_MATRIX_H
#define TL_EMU_MATRIX_H

#include "../formats.h"
#include "lanes.h"

namespace tl_emu {

struct TileData { char *row; u32 *words; int tiles, transposed; };

inline void check_row(Thread &t, const char *row, int how) {
  if (!t.block->worker->launch->checks) return;
  const Region *r = region_at(t, (u64)row);
  if ((!r || r->index != -1) && (u64)row - (u64)t.stack >= kStackBytes)
    fail(NOT_SHARED, t, r, r ? row - r->begin : 0, 16, how, t.site);
  access(t, row, 16, how, t.site);
}

inline void check_registers(Thread &t, const void *p, size_t bytes, int how) {
  if (t.block->worker->launch->checks)
    for (size_t i = 0; i < bytes; i += 4) access(t, (const char *)p + i, 4, how, t.site);
}

/* Element (row, column) of a tile is half `column & 1` of word `column / 2` of lane 4 row + .... */
inline unsigned short &element(char *row, int column) { return ((unsigned short *)row)[column]; }

inline void move_tiles(Lanes &lanes, bool to_registers) {
  const TileData &any = *(TileData *)lanes[0]->call.data;
  for (int m = 0; m < any.tiles; m++)
    for (int i = 0; i < 8; i++) {
      Thread &owner = *lanes[8 * m + i];
      check_row(owner, ((TileData *)owner.call.data)->row, to_registers ? READ : WRITE);
    }
  for (int lane = 0; lane < (int)kWarp; lane++) {
    Thread &t = *lanes[lane];
    TileData &d = *(TileData *)t.call.data;
    check_registers(t, d.words, 4 * (size_t)d.tiles, to_registers ? WRITE : READ);
    for (int m = 0; m < d.tiles; m++)
      for (int half = 0; half < 2; half++) {
        const int g = lane / 4, c = 2 * (lane % 4) + half;
        char *row = ((TileData *)lanes[8 * m + (d.transposed ? c : g)]->call.data)->row;
        unsigned short &there = element(row, d.transposed ? g : c);
        unsigned short &here = ((unsigned short *)(d.words + m))[half];
        (to_registers ? here : there) = to_registers ? there : here;
      }
  }
}
inline void do_ldmatrix(Lanes &lanes) { move_tiles(lanes, true); }
inline void do_stmatrix(Lanes &lanes) { move_tiles(lanes, false); }

inline void do_movmatrix(Lanes &lanes) {
  unsigned short tile[8][8];
  for (int lane = 0; lane < (int)kWarp; lane++)
    memcpy(&tile[lane / 4][2 * (lane % 4)], ((TileData *)lanes[lane]->call.data)->words, 4);
  for (int lane = 0; lane < (int)kWarp; lane++) {
    const int g = lane / 4, c = 2 * (lane % 4);
    *((TileData *)lanes[lane]->call.data)->words = tile[c][g] | (u32)tile[c + 1][g] << 16;
  }
}

/* -- formats of matrix elements: `Value` is what they are computed in ---------------------------- */

struct Float16 {
  using Word = unsigned short;
  static double get(Word x) { return tl_emu_decode_float16(x); }
  static Word add(Word c, double sum) {
    return tl_emu_encode_float16((float)(get(c) + sum));
  }
};
struct Bfloat16 {
  using Word = unsigned short;
  static double get(Word x) { return tl_emu_decode_bfloat16(x); }
};
struct Tfloat32 {
  using Word = u32;
  static double get(Word x) { return tl_emu_float_of(x & 0xffffe000u); }
};
struct Float32 {
  using Word = float;
  static Word add(Word c, double sum) { return (float)((double)c + sum); }
};
struct Float64 {
  using Word = double;
  static double get(Word x) { return x; }
  static Word add(Word c, double sum) { return c + sum; }
};
struct E4m3 {
  using Word = u8;
  static double get(Word x) { return tl_decode_float<4, 3, 7, TL_FN>(x); }
};
struct E5m2 {
  using Word = u8;
  static double get(Word x) { return tl_decode_float<5, 2, 15, TL_IEEE>(x); }
};
struct Int8 {
  using Word = signed char;
  static double get(Word x) { return x; }
};
struct Uint8 {
  using Word = u8;
  static double get(Word x) { return x; }
};
/* A sum of 32 products of bytes is exact in a double. */
struct WrapInt {
  using Word = int;
  static Word add(Word c, double sum) { return (Word)((u32)c + (u32)(int64_t)sum); }
};
struct ClampInt {
  using Word = int;
  static Word add(Word c, double sum) {
    const int64_t x = c + (int64_t)sum;
    return x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : (Word)x;
  }
};

struct MmaData {
  void *d;
  const void *a, *b, *c;
  void (*run)(Lanes &);
};

inline const MmaData &mma_data(const Thread *t) { return *(const MmaData *)t->call.data; }

/* Where element e of a lane's A (or, with M = 8, B) fragment is: P elements per 32-bit register. */
template <class F, int M>
inline void place_of_element(int lane, int e, int &row, int &k) {
  constexpr int P = sizeof(typename F::Word) < 4 ? 4 / (int)sizeof(typename F::Word) : 1;
  const int r = e / P, j = e % P, g = lane / 4, t = lane % 4;
  row = M == 16 ? g + 8 * (r & 1) : g;
  k = P * t + j + 4 * P * (M == 16 ? r >> 1 : r);
}

template <class F, int M, int K>
inline void gather_operand(Lanes &lanes, bool is_a, double (*matrix)[K]) {
  constexpr int count = M * K / (int)kWarp;
  for (int lane = 0; lane < (int)kWarp; lane++) {
    const MmaData &data = mma_data(lanes[lane]);
    const void *words = is_a ? data.a : data.b;
    check_registers(*lanes[lane], words, count * sizeof(typename F::Word), READ);
    for (int e = 0; e < count; e++) {
      int row, k;
      place_of_element<F, M>(lane, e, row, k);
      matrix[row][k] = F::get(((const typename F::Word *)words)[e]);
    }
  }
}

template <int M, int K, class A, class B, class C>
inline void do_mma(Lanes &lanes) {
  using Word = typename C::Word;
  double a[M][K], b[8][K]; /* b: [n][k] */
  gather_operand<A, M, K>(lanes, true, a);
  gather_operand<B, 8, K>(lanes, false, b);
  for (int lane = 0; lane < (int)kWarp; lane++) {
    const MmaData &data = mma_data(lanes[lane]);
    check_registers(*lanes[lane], data.c, M / 4 * sizeof(Word), READ);
    check_registers(*lanes[lane], data.d, M / 4 * sizeof(Word), WRITE);
    for (int i = 0; i < M / 4; i++) {
      const int row = lane / 4 + 8 * (i >> 1), column = 2 * (lane % 4) + (i & 1);
      double sum = 0;
      for (int k = 0; k < K; k++) sum += a[row][k] * b[column][k];
      ((Word *)data.d)[i] = C::add(((const Word *)data.c)[i], sum);
    }
  }
}

inline void run_mma(Lanes &lanes) { mma_data(lanes[0]).run(lanes); }

inline void do_wgmma(Lanes &lanes); /* wgmma.h */
inline void do_wgmma_fence(Lanes &lanes);
inline void do_wgmma_commit(Lanes &lanes);
inline void do_wgmma_wait(Lanes &lanes);

inline Work work_of(int op) {
  static const Work works[] = {do_sync, do_shuffle, do_ballot, do_match, do_reduce,
                               do_ballot, do_ldmatrix, do_stmatrix, do_movmatrix, run_mma,
                               do_wgmma, do_wgmma_fence, do_wgmma_commit, do_wgmma_wait};
  return works[op];
}

} // namespace tl_emu

extern "C" {
void tl_emu_ldmatrix(void *d, const void *row, int tiles, int transposed) {
  tl_emu::TileData data = {(char *)row, (unsigned *)d, tiles, transposed};
  tl_emu::meet(tl_emu::LDMATRIX, ~0u, true, &data, TL_EMU_SITE);
}

void tl_emu_stmatrix(void *row, const void *s, int tiles, int transposed) {
  tl_emu::TileData data = {(char *)row, (unsigned *)s, tiles, transposed};
  tl_emu::meet(tl_emu::STMATRIX, ~0u, true, &data, TL_EMU_SITE);
}

unsigned tl_movmatrix_trans(unsigned a) {
  tl_emu::TileData data = {nullptr, &a, 1, 1};
  tl_emu::meet(tl_emu::MOVMATRIX, ~0u, true, &data, TL_EMU_SITE);
  return a;
}
}

#define TL_EMU_MMA(name, M, K, A, B, C)                                                     \
  extern "C" void tl_mma_##name(void *d, const void *a, const void *b, const void *c) {     \
    using namespace tl_emu;                                                                 \
    MmaData data = {d, a, b, c, do_mma<M, K, A, B, C>};                                     \
    meet(MMA, ~0u, true, &data, TL_EMU_SITE);                                               \
  }
#include "../mma_forms.h"
#undef TL_EMU_MMA

#endif
