/* Operations of a warp: the lanes of a mask wait until all are there; the last one does the work for
 * all. Lanes that have exited are left out where the instruction allows it. */
#ifndef TL_EMU_LANES_H
#define TL_EMU_LANES_H

#include "barrier.h"
#include "checks.h"

namespace tl_emu {

enum Op { SYNC, SHUFFLE, BALLOT, MATCH, REDUCE, ELECT, LDMATRIX, STMATRIX, MOVMATRIX, MMA,
          WGMMA, WGMMA_FENCE, WGMMA_COMMIT, WGMMA_WAIT };

using Lanes = Thread *[kWarp]; /* null: not taking part */

inline const char *op_name(int op) {
  static const char *const names[] = {"warp synchronisation", "shuffle", "vote", "match",
                                      "warp reduction", "election", "ldmatrix", "stmatrix",
                                      "movmatrix", "mma", "wgmma", "wgmma fence", "wgmma commit",
                                      "wgmma wait"};
  return names[op];
}

/* Null while a lane is missing. */
inline bool gather(Thread &t, Lanes &lanes) {
  Block &b = *t.block;
  const u32 first = t.index / kWarp * kWarp;
  for (u32 lane = 0; lane < kWarp; lane++) {
    lanes[lane] = nullptr;
    if (!(t.call.mask >> lane & 1)) continue;
    Thread *other = first + lane < b.threads.size() ? &b.threads[first + lane] : nullptr;
    if (!other || other->waiting == EXITED) {
      if (!t.call.aligned) continue;
      report(LANES, &t, t.site, "%s needs all lanes of the warp; lane %u %s", op_name(t.call.op),
             lane, other ? "has exited" : "does not exist");
      leave();
    }
    if (other->waiting != AT_WARP) return false;
    if (other->call.mask != t.call.mask) {
      if (!t.call.aligned && !other->call.aligned) return false;
      fail_beside(LANES, t, t.site, *other, "lanes of a warp meet with different masks");
    }
    if (other->call.op != t.call.op || (t.call.aligned && other->site != t.site))
      fail_beside(LANES, t, t.site, *other, "lanes of a warp meet at two different operations");
    lanes[lane] = other;
  }
  return true;
}

using Work = void (*)(Lanes &);
inline Work work_of(int op); /* below, and in matrix.h */

inline void try_complete(Thread &t) {
  Lanes lanes;
  if (!gather(t, lanes)) return;
  work_of(t.call.op)(lanes);
  for (Thread *lane : lanes)
    if (lane) make_ready(lane);
}

/* The current thread takes part in `op` with the lanes of `mask`. */
inline void meet(int op, u32 mask, bool aligned, void *data, void *site) {
  Thread &t = *self();
  t.block->worker->polls = 0;
  t.call = {op, mask, aligned, data};
  t.site = site;
  if (!(mask >> t.index % kWarp & 1)) {
    report(LANES, &t, site, "lane %u calls %s with a mask without it: 0x%08x", t.index % kWarp,
           op_name(op), mask);
    leave();
  }
  t.waiting = AT_WARP;
  try_complete(t);
  suspend();
}

/* Others may have waited for nobody else. */
void lane_left(Thread &t) {
  Block &b = *t.block;
  const u32 first = t.index / kWarp * kWarp;
  for (u32 i = first; i < first + kWarp && i < b.threads.size(); i++) {
    Thread &other = b.threads[i];
    if (other.waiting == AT_WARP && other.call.mask >> t.index % kWarp & 1) try_complete(other);
  }
}

/* -- what lanes exchange ------------------------------------------------------------------------ */

struct ShuffleData { int kind; u64 x, result; int lane, width; };
struct VoteData { bool p; u32 result; };
struct MatchData { u64 x; int all; u32 result; };
struct ReduceData { int kind; int64_t x, result; };

inline void do_sync(Lanes &lanes) {
  std::vector<Arrival> group;
  for (Thread *t : lanes)
    if (t) group.push_back({t, now, t->site, true});
  Block &b = *group[0].thread->block;
  if (!b.worker->launch->checks) return;
  const Known known = joined(b, group);
  for (Arrival &a : group) a.thread->known = known;
  now++;
}

inline int source_lane(const ShuffleData &d, int lane) {
  const int first = lane & ~(d.width - 1), end = first + d.width;
  switch (d.kind) {
    case 0: return first + (d.lane & (d.width - 1));
    case 1: return (lane ^ d.lane) < end ? lane ^ d.lane : lane;
    case 2: return lane - d.lane >= first ? lane - d.lane : lane;
    default: return lane + d.lane < end ? lane + d.lane : lane;
  }
}

inline void do_shuffle(Lanes &lanes) {
  for (int lane = 0; lane < (int)kWarp; lane++) {
    if (!lanes[lane]) continue;
    Thread &t = *lanes[lane];
    ShuffleData &d = *(ShuffleData *)t.call.data;
    if (d.width < 1 || d.width > 32 || d.width & (d.width - 1)) {
      report(LANES, &t, t.site, "shuffle in groups of %d: it must be a power of two", d.width);
      leave();
    }
    const int from = source_lane(d, lane);
    if (from < 0 || from >= (int)kWarp || !lanes[from]) {
      report(LANES, &t, t.site, "shuffle takes the value of lane %d, which does not take part",
             from);
      leave();
    }
    d.result = ((ShuffleData *)lanes[from]->call.data)->x;
  }
}

inline void do_ballot(Lanes &lanes) {
  u32 set = 0;
  for (u32 i = 0; i < kWarp; i++)
    if (lanes[i] && ((VoteData *)lanes[i]->call.data)->p) set |= 1u << i;
  for (Thread *t : lanes)
    if (t) ((VoteData *)t->call.data)->result = set;
}

inline void do_match(Lanes &lanes) {
  for (Thread *t : lanes) {
    if (!t) continue;
    MatchData &d = *(MatchData *)t->call.data;
    u32 same = 0;
    for (u32 i = 0; i < kWarp; i++)
      if (lanes[i] && ((MatchData *)lanes[i]->call.data)->x == d.x) same |= 1u << i;
    u32 present = 0;
    for (u32 i = 0; i < kWarp; i++) present |= lanes[i] ? 1u << i : 0;
    d.result = !d.all ? same : same == present ? t->call.mask : 0;
  }
}

inline int64_t reduced(int kind, int64_t a, int64_t b) {
  switch (kind) {
    case 0: return (int64_t)((u64)a + (u64)b);
    case 1: return a > b ? a : b;
    case 2: return a < b ? a : b;
    case 3: return a & b;
    case 4: return a | b;
    default: return a ^ b;
  }
}

inline void do_reduce(Lanes &lanes) {
  int64_t total = 0;
  bool is_first = true;
  for (Thread *t : lanes) {
    if (!t) continue;
    const ReduceData &d = *(ReduceData *)t->call.data;
    total = is_first ? d.x : reduced(d.kind, total, d.x);
    is_first = false;
  }
  for (Thread *t : lanes)
    if (t) ((ReduceData *)t->call.data)->result = total;
}

} // namespace tl_emu

extern "C" {
void tl_sync_warp(unsigned mask) { tl_emu::meet(tl_emu::SYNC, mask, false, nullptr, TL_EMU_SITE); }

unsigned long long tl_emu_shuffle(int kind, unsigned mask, unsigned long long x, int lane,
                                  int width) {
  tl_emu::ShuffleData d = {kind, x, 0, lane, width};
  tl_emu::meet(tl_emu::SHUFFLE, mask, false, &d, TL_EMU_SITE);
  return d.result;
}

unsigned tl_ballot_sync(unsigned mask, bool p) {
  tl_emu::VoteData d = {p, 0};
  tl_emu::meet(tl_emu::BALLOT, mask, false, &d, TL_EMU_SITE);
  return d.result;
}

unsigned tl_emu_match(unsigned mask, unsigned long long x, int all) {
  tl_emu::MatchData d = {x, all, 0};
  tl_emu::meet(tl_emu::MATCH, mask, false, &d, TL_EMU_SITE);
  return d.result;
}

long long tl_emu_reduce(int kind, long long x) {
  tl_emu::ReduceData d = {kind, x, 0};
  tl_emu::meet(tl_emu::REDUCE, ~0u, false, &d, TL_EMU_SITE);
  return d.result;
}

bool tl_elect_sync(unsigned mask) {
  tl_emu::VoteData d = {true, 0};
  tl_emu::meet(tl_emu::ELECT, mask, false, &d, TL_EMU_SITE);
  return (int)(tl_emu::self()->index % 32) == __builtin_ctz(d.result);
}

int tl_lane_id() { return (int)(tl_emu::self()->index % 32); }
int tl_warp_id() { return (int)(tl_emu::self()->index / 32); }

/* Which lanes run together is the hardware's affair; here, all that have not exited. */
unsigned tl_activemask() {
  const tl_emu::Thread &t = *tl_emu::self();
  unsigned mask = 0;
  const unsigned first = t.index / 32 * 32;
  for (unsigned i = 0; i < 32 && first + i < t.block->threads.size(); i++)
    if (t.block->threads[first + i].waiting != tl_emu::EXITED) mask |= 1u << i;
  return mask;
}
}

#endif
