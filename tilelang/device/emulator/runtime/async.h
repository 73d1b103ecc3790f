/* Copies from global to shared memory that land at once or when they are waited for, and loads with
 * a promise about memory. */
#ifndef TL_EMU_ASYNC_H
#define TL_EMU_ASYNC_H

#include "checks.h"

namespace tl_emu {

inline void land(Copy &copy) {
  if (copy.landed) return;
  if (copy.src_bytes) memcpy(copy.dst, copy.src, copy.src_bytes);
  memset(copy.dst + copy.src_bytes, 0, copy.bytes - copy.src_bytes);
  copy.landed = true;
}

/* The bytes are there for thread t from now on. */
inline void finish(Thread &t, std::vector<Copy> &copies) {
  for (Copy &copy : copies) {
    land(copy);
    if (!t.block->worker->launch->checks) continue;
    Cell *cells = t.block->shared.cells + (copy.dst - t.block->shared.begin);
    for (u32 i = 0; i < copy.bytes; i++) {
      cells[i].write = {now, t.id, place_of(copy.site)};
      cells[i].flags = kInit;
    }
  }
  copies.clear();
}

void land_everything(Thread &t) {
  for (std::vector<Copy> &group : t.groups)
    for (Copy &copy : group) land(copy);
  for (Copy &copy : t.open) land(copy);
  t.groups.clear();
  t.open.clear();
}

} // namespace tl_emu

extern "C" {
void tl_emu_copy_async(void *dst, const void *src, int bytes, unsigned src_bytes) {
  using namespace tl_emu;
  Thread &t = *self();
  const u32 read = src_bytes < (u32)bytes ? src_bytes : (u32)bytes;
  void *site = TL_EMU_SITE;
  if (t.block->worker->launch->checks) {
    if ((u64)src % (u64)bytes) fail(MISALIGNED, t, region_at(t, (u64)src),
                                    (const char *)src - region_at(t, (u64)src)->begin, (size_t)bytes,
                                    READ, site);
    if (read) access(t, src, read, READ | LOOSE, site);
    access(t, dst, (size_t)bytes, WRITE | ASYNC, site);
  }
  Copy copy = {(char *)dst, (const char *)src, (u32)bytes, read, false, site};
  if (next_random(worker->random) & 1) land(copy);
  t.open.push_back(copy);
}

void tl_cp_async_commit_group() {
  tl_emu::Thread &t = *tl_emu::self();
  t.groups.push_back(std::move(t.open));
  t.open.clear();
}

void tl_emu_copy_wait(int newest) {
  tl_emu::Thread &t = *tl_emu::self();
  while (!t.groups.empty() && (int)t.groups.size() > (newest < 0 ? 0 : newest)) {
    tl_emu::finish(t, t.groups.front());
    t.groups.pop_front();
  }
  if (newest < 0) tl_emu::finish(t, t.open);
}

void tl_emu_read_constant(const void *p, int bytes) {
  using namespace tl_emu;
  Thread &t = *self();
  if (t.block->worker->launch->checks) access(t, p, (size_t)bytes, CONSTANT, TL_EMU_SITE);
}

void tl_emu_poll() { tl_emu::poll(); }

unsigned tl_smem_address(const void *p) {
  return (unsigned)((const char *)p - tl_emu::self()->block->shared.begin);
}

void tl_prefetch_global_L2(const void *) {}
}

#endif
