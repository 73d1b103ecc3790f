/* Barriers of a block, warp synchronisation's part in what threads know, and what to say when
 * nobody can go on. */
#ifndef TL_EMU_BARRIER_H
#define TL_EMU_BARRIER_H

#include "state.h"

namespace tl_emu {

/* What `group` knows together, each up to its arrival. */
inline Known joined(const Block &b, const std::vector<Arrival> &group) {
  auto made = std::make_shared<Knowledge>();
  made->upto.assign(b.threads.size(), launch_start);
  const Knowledge *last = nullptr;
  for (const Arrival &a : group) {
    const Knowledge *k = a.thread->known.get();
    if (!k || k == last) continue;
    for (size_t u = 0; u < made->upto.size(); u++)
      if (k->upto[u] > made->upto[u]) made->upto[u] = k->upto[u];
    last = k;
  }
  for (const Arrival &a : group) made->upto[a.thread->index] = a.time;
  made->least = ~0u;
  for (u32 time : made->upto) made->least = time < made->least ? time : made->least;
  return made;
}

inline const char *say(const Thread &t, char *text, size_t size) {
  snprintf(text, size, "thread (%u, %u, %u)", t.at.x, t.at.y, t.at.z);
  return text;
}

inline void other_party(const Thread &t) {
  std::lock_guard<std::mutex> guard(fault_lock);
  fault.other = party_of(&t, place_of(t.site), false);
}

[[noreturn]] inline void fail_beside(int kind, Thread &t, void *site, const Thread &other,
                                     const char *message) {
  report(kind, &t, site, "%s", message);
  other_party(other);
  leave();
}

/* All threads of a block meet at one place of the text, as the language asks. */
inline void check_meeting(Block &b, Barrier &barrier) {
  const Arrival &first = barrier.arrivals[0];
  for (const Arrival &a : barrier.arrivals)
    if (barrier.whole && b.worker->launch->checks && a.site != first.site) {
      report(BARRIER, first.thread, first.site,
             "threads of the block meet at two different barriers");
      other_party(*a.thread);
      fault.other.place = place_of(a.site);
      leave();
    }
}

inline void complete(Block &b, Barrier &barrier) {
  check_meeting(b, barrier);
  if (b.worker->launch->checks) {
    const Known known = joined(b, barrier.arrivals);
    for (const Arrival &a : barrier.arrivals)
      if (a.waits) a.thread->known = known;
    now++;
  }
  const u32 count = barrier.votes, size = (u32)barrier.arrivals.size();
  barrier.combined[0] = (int)count;
  barrier.combined[1] = count == size;
  barrier.combined[2] = count != 0;
  for (const Arrival &a : barrier.arrivals)
    if (a.waits) make_ready(a.thread);
  barrier.arrivals.clear();
  barrier.expected = barrier.votes = 0;
}

inline void arrive(int id, int count, bool waits, bool vote, void *site) {
  Thread &t = *self();
  Block &b = *t.block;
  b.worker->polls = 0;
  if (id < 0 || id > 15) {
    report(BARRIER, &t, site, "there is no barrier %d: they are numbered 0 to 15", id);
    leave();
  }
  if (count % (int)kWarp != 0 || count < 0) {
    report(BARRIER, &t, site, "barrier %d for %d threads: it must be a multiple of 32", id, count);
    leave();
  }
  Barrier &barrier = b.barriers[id];
  const u32 expected = count ? (u32)count : (u32)b.threads.size();
  t.site = site;
  if (barrier.expected && (barrier.expected != expected || barrier.whole != !count))
    fail_beside(BARRIER, t, site, *barrier.arrivals[0].thread,
                "threads meet at one barrier with different counts");
  for (const Arrival &a : barrier.arrivals)
    if (a.thread == &t)
      fail_beside(BARRIER, t, site, *a.thread, "a thread arrives twice at one barrier");
  if (!count && b.alive != b.threads.size()) {
    for (const Thread &other : b.threads)
      if (other.waiting == EXITED)
        fail_beside(BARRIER, t, site, other,
                    "a barrier of the whole block, which a thread has left");
  }
  barrier.expected = expected;
  barrier.whole = !count;
  barrier.votes += vote;
  barrier.arrivals.push_back({&t, now, site, waits});
  now += b.worker->launch->checks; /* what this thread does from here on comes later */
  t.waiting = waits ? AT_BARRIER : RUNNING;
  if (barrier.arrivals.size() == barrier.expected) {
    complete(b, barrier);
    if (waits) suspend();
  } else if (waits) {
    suspend();
  }
}

/* Nobody will come any more to a barrier of all threads. */
void thread_left(Thread &t) {
  for (Barrier &barrier : t.block->barriers)
    if (barrier.whole && !barrier.arrivals.empty()) {
      const Arrival &a = barrier.arrivals[0];
      fail_beside(BARRIER, *a.thread, a.site, t,
                  "a barrier of the whole block, which a thread has left");
    }
}

inline void describe_lanes(const Thread &t) {
  const Block &b = *t.block;
  const u32 first = t.index / kWarp * kWarp;
  for (u32 lane = 0; lane < kWarp; lane++) {
    if (!(t.call.mask >> lane & 1) || first + lane >= b.threads.size()) continue;
    const Thread &other = b.threads[first + lane];
    const bool is_there = other.waiting == AT_WARP && other.call.mask == t.call.mask;
    if (is_there) continue;
    report(LANES, &t, t.site, "lane %u of the mask 0x%08x never comes", lane, t.call.mask);
    return other_party(other);
  }
}

/* All threads of all blocks, which must be there together. */
inline void arrive_grid(void *site) {
  Thread &t = *self();
  Worker &w = *t.block->worker;
  w.polls = 0;
  t.site = site;
  t.waiting = AT_BARRIER;
  w.grid.push_back(&t);
  if (w.grid.size() == w.launch->blocks * w.launch->threads) {
    ordered_until = now++;
    for (Thread *waiting : w.grid) make_ready(waiting);
    w.grid.clear();
  }
  suspend();
}

/* Called when no thread of any block can go on. */
void describe_deadlock(Block &b) {
  const Worker &w = *b.worker;
  if (!w.grid.empty())
    return report(DEADLOCK, w.grid[0], w.grid[0]->site,
                  "the barrier of the grid never completes: %zu of %zu threads are there",
                  w.grid.size(), (size_t)w.launch->blocks * w.launch->threads);
  for (const Thread &t : b.threads)
    if (t.waiting == AT_WARP) return describe_lanes(t);
  for (int id = 0; id < 16; id++) {
    const Barrier &barrier = b.barriers[id];
    if (barrier.arrivals.empty()) continue;
    for (const Thread &t : b.threads) {
      bool is_there = false;
      for (const Arrival &a : barrier.arrivals) is_there |= a.thread == &t;
      if (is_there && barrier.arrivals.size() < b.threads.size()) continue;
      const Arrival &a = barrier.arrivals[0];
      report(DEADLOCK, a.thread, a.site, "barrier %d never completes: %zu of %u threads are there",
             id, barrier.arrivals.size(), barrier.expected);
      return other_party(t);
    }
  }
  report(DEADLOCK, nullptr, nullptr, "no thread can go on");
}

} // namespace tl_emu

extern "C" {
void tl_sync_grid() { tl_emu::arrive_grid(TL_EMU_SITE); }
void tl_sync_threads() { tl_emu::arrive(0, 0, true, false, TL_EMU_SITE); }
void tl_emu_bar_sync(int id, int count) { tl_emu::arrive(id, count, true, false, TL_EMU_SITE); }
void tl_bar_arrive(int id, int count) { tl_emu::arrive(id, count, false, false, TL_EMU_SITE); }

static int voted(int which) { return tl_emu::self()->block->barriers[0].combined[which]; }
int tl_syncthreads_count(bool p) {
  tl_emu::arrive(0, 0, true, p, TL_EMU_SITE);
  return voted(0);
}
int tl_syncthreads_and(bool p) {
  tl_emu::arrive(0, 0, true, p, TL_EMU_SITE);
  return voted(1);
}
int tl_syncthreads_or(bool p) {
  tl_emu::arrive(0, 0, true, p, TL_EMU_SITE);
  return voted(2);
}
}

#endif
