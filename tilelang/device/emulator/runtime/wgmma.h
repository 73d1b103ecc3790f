/* Products of a warp group, each warp its 16 rows: operands in shared memory are found as the
 * descriptor says, products run at their place in the text or at the wait. See `cuda/wgmma.h`. */
#ifndef TL_EMU_WGMMA_H
#define TL_EMU_WGMMA_H

#include "matrix.h"

namespace tl_emu {

constexpr int kDepth = 16;

/* Element (i, k) of a matrix: 2 bytes in shared memory. */
inline double matrix_element(Thread &t, u64 matrix, int i, int k, int turned, int is_bfloat16) {
  const u64 start = (matrix & 0x3fff) << 4, lead = (matrix >> 16 & 0x3fff) << 4,
            stride = (matrix >> 32 & 0x3fff) << 4;
  const int mode = (int)(matrix >> 62);
  const u64 span = mode ? 256u >> mode : 16, per = span / 2;
  u64 offset;
  if (mode) {
    offset = turned ? i % per * 2 + i / per * lead + k % 8 * span + k / 8 * stride
                    : i % 8 * span + i / 8 * stride + (u64)k * 2;
  } else {
    offset = turned ? i % 8 * 2 + i / 8 * stride + k % 8 * 16 + k / 8 * lead
                    : i % 8 * 16 + i / 8 * stride + k % 8 * 2 + k / 8 * lead;
  }
  u64 address = start + offset;
  if (mode) address ^= (address >> 7 & ((8u >> (mode - 1)) - 1)) << 4;
  const char *p = t.block->shared.begin + address;
  if (t.block->worker->launch->checks) access(t, p, 2, READ, t.site);
  unsigned short word;
  memcpy(&word, p, 2);
  return is_bfloat16 ? Bfloat16::get(word) : Float16::get(word);
}

inline void run_product(Thread &first, const std::vector<WgmmaData> &lanes) {
  const WgmmaData &any = lanes[0];
  const int warp = (int)(first.index / kWarp % 4);
  Thread *threads = &first;
  std::vector<double> a(16 * kDepth), b((size_t)any.columns * kDepth);
  for (int lane = 0; lane < (int)kWarp; lane++)
    for (int e = 0; e < 8 && any.a; e++) {
      int row, k;
      place_of_element<Float16, 16>(lane, e, row, k);
      const unsigned short word = lanes[(size_t)lane].a[e];
      a[(size_t)(row * kDepth + k)] = any.is_bfloat16 ? Bfloat16::get(word) : Float16::get(word);
    }
  for (int k = 0; k < kDepth; k++) {
    for (int i = 0; i < 16 && !any.a; i++)
      a[(size_t)(i * kDepth + k)] = matrix_element(first, any.matrix[0], warp * 16 + i, k,
                                                   any.turned[0], any.is_bfloat16);
    for (int j = 0; j < any.columns; j++)
      b[(size_t)(j * kDepth + k)] =
          matrix_element(first, any.matrix[1], j, k, any.turned[1], any.is_bfloat16);
  }
  for (int lane = 0; lane < (int)kWarp; lane++) {
    float *d = lanes[(size_t)lane].d;
    if (!any.is_new) check_registers(threads[lane], d, (size_t)any.columns * 2, READ);
    for (int e = 0; e < any.columns / 2; e++) {
      const int row = lane / 4 + 8 * (e >> 1 & 1), column = 8 * (e >> 2) + 2 * (lane % 4) + (e & 1);
      double sum = 0;
      for (int k = 0; k < kDepth; k++)
        sum += a[(size_t)(row * kDepth + k)] * b[(size_t)(column * kDepth + k)];
      d[e] = (float)(any.is_new ? sum : (double)d[e] + sum);
    }
    check_registers(threads[lane], d, (size_t)any.columns * 2, WRITE);
  }
}

inline const WgmmaData &wgmma_data(const Thread *t) { return *(const WgmmaData *)t->call.data; }

inline void run_pending(Thread &first, size_t groups) {
  while (first.products.size() > groups) {
    for (const auto &product : first.products.front()) run_product(first, product);
    first.products.pop_front();
  }
}

inline void do_wgmma(Lanes &lanes) {
  Thread &first = *lanes[0];
  const WgmmaData &any = wgmma_data(&first);
  std::vector<WgmmaData> product;
  for (Thread *t : lanes) {
    const WgmmaData &mine = wgmma_data(t);
    if (mine.matrix[0] != any.matrix[0] || mine.matrix[1] != any.matrix[1])
      fail_beside(LANES, *t, t->site, first, "lanes of a warp group name different matrices");
    product.push_back(mine);
  }
  if (any.matrix[1] >> 49 & 7 || any.matrix[0] >> 49 & 7)
    report(LANES, &first, first.site, "a base offset in a descriptor");
  first.open_products.push_back(std::move(product));
}

inline void do_wgmma_commit(Lanes &lanes) {
  Thread &first = *lanes[0];
  first.products.push_back(std::move(first.open_products));
  first.open_products.clear();
  if (next_random(worker->random) & 1) run_pending(first, 0);
}

inline void do_wgmma_wait(Lanes &lanes) {
  run_pending(*lanes[0], *(const size_t *)lanes[0]->call.data);
}

inline void do_wgmma_fence(Lanes &) {}

} // namespace tl_emu

extern "C" {
void tl_emu_wgmma(float *d, const void *a, unsigned long long a_matrix, unsigned long long b_matrix,
                  int columns, int is_bfloat16, int turned_a, int turned_b, int is_new) {
  using namespace tl_emu;
  WgmmaData data = {d, (const unsigned short *)a, {a_matrix, b_matrix}, columns, is_bfloat16,
                    {turned_a, turned_b}, is_new};
  meet(WGMMA, ~0u, true, &data, TL_EMU_SITE);
}

void tl_emu_wgmma_fence() { tl_emu::meet(tl_emu::WGMMA_FENCE, ~0u, true, nullptr, TL_EMU_SITE); }
void tl_wgmma_commit() { tl_emu::meet(tl_emu::WGMMA_COMMIT, ~0u, true, nullptr, TL_EMU_SITE); }
void tl_emu_wgmma_wait(int groups) {
  size_t count = (size_t)groups;
  tl_emu::meet(tl_emu::WGMMA_WAIT, ~0u, true, &count, TL_EMU_SITE);
}
}

#endif
