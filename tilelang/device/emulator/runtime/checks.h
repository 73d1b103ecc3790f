/* The checks of each access: bounds, alignment, initialisation, races, copies that are not waited
 * for. Called by the compiler's instrumentation (`instrument.h`) and by operations of the runtime.
 *
 * Time is one counter, raised by each synchronisation. An access of thread u at time n comes before
 * an access of thread v if v knows u up to n or later; barriers and warp synchronisation join what
 * their threads know. Blocks know of each other only through released and acquired atomics. Threads
 * that write the same value to one place do not race. */
#ifndef TL_EMU_CHECKS_H
#define TL_EMU_CHECKS_H

#include "state.h"

namespace tl_emu {

inline bool is_before(Thread &v, u32 thread, u32 time) {
  if (time <= ordered_until || thread == v.id) return true;
  if (thread >> kThreadBits == v.block->id)
    return v.known && v.known->upto[thread & (kMaxThreads - 1)] >= time;
  auto found = v.block->others.find(thread >> kThreadBits);
  return found != v.block->others.end() && found->second >= time;
}

/* Reader sets are numbered by the worker that made them: those of earlier launches mean nothing. */
inline bool has_readers(const Cell &c) { return c.readers && c.read.time > launch_start; }

inline void free_readers(Worker &w, Cell &c) {
  if (has_readers(c)) w.free_sets.push_back(c.readers - 1);
  c.readers = 0;
}

/* Several threads of a block have read since the last write: remember each. */
inline void start_readers(Thread &t, Cell &c) {
  Worker &w = *t.block->worker;
  if (w.free_sets.empty()) {
    w.free_sets.push_back((u32)w.sets.size());
    w.sets.push_back({});
  }
  c.readers = w.free_sets.back() + 1;
  w.free_sets.pop_back();
  ReaderSet &set = w.sets[c.readers - 1];
  set.times.assign(t.block->threads.size(), 0);
  set.times[c.read.thread & (kMaxThreads - 1)] = set.latest = c.read.time;
}

inline void add_reader(Thread &t, Cell &c, void *site) {
  Worker &w = *t.block->worker;
  const Mark mine = {now, t.id, place_of(site)};
  const bool is_first = c.read.time <= launch_start;
  if (is_first) c.readers = 0;
  if (!is_first && c.read.thread >> kThreadBits != t.block->id) {
    if (!is_before(t, c.read.thread, c.read.time)) c.foreign = c.read;
    free_readers(w, c);
  } else if (has_readers(c)) {
    ReaderSet &set = w.sets[c.readers - 1];
    if (t.known && t.known->least >= set.latest) {
      free_readers(w, c);
    } else {
      set.times[t.index] = set.latest = now;
    }
  } else if (!is_first && !is_before(t, c.read.thread, c.read.time)) {
    start_readers(t, c);
    ReaderSet &set = w.sets[c.readers - 1];
    set.times[t.index] = set.latest = now;
  }
  c.read = mine;
}

/* A reader that thread t does not come after; null when there is none. */
inline const Mark *unordered_reader(Thread &t, Cell &c, Mark &found) {
  if (c.foreign.time && !is_before(t, c.foreign.thread, c.foreign.time)) return &c.foreign;
  if (!has_readers(c)) {
    return c.read.time && !is_before(t, c.read.thread, c.read.time) ? &c.read : nullptr;
  }
  const ReaderSet &set = t.block->worker->sets[c.readers - 1];
  const u32 block = c.read.thread >> kThreadBits << kThreadBits;
  for (u32 u = 0; u < set.times.size(); u++)
    if (set.times[u] && !is_before(t, block | u, set.times[u])) {
      found = {set.times[u], block | u, c.read.place};
      return &found;
    }
  return nullptr;
}

struct Verdict { int kind; const Mark *other; bool other_writes; };

void settle(Worker &w) {
  Doubt &d = w.doubt;
  if (!d.thread) return;
  const Thread *t = d.thread;
  d.thread = nullptr;
  if (!memcmp(d.region->begin + d.offset, d.before, d.bytes)) return;
  report_memory(RACE, t, d.site, d.region, d.at, d.bytes, true, &d.other, true);
  leave();
}

/* Whether a write that races with `other` may yet turn out to change nothing; it is looked at then. */
inline bool doubted(Thread &t, const Region &r, int64_t offset, int64_t at, size_t bytes, int how,
                    const Mark *other, void *site) {
  Doubt &d = t.block->worker->doubt;
  if (how & (ATOMIC | ASYNC) || !(how & WRITE) || bytes > sizeof d.before) return false;
  if (d.thread) return true; /* an earlier byte of this write */
  d.thread = &t, d.region = &r, d.offset = offset, d.at = at, d.bytes = bytes, d.other = *other;
  d.site = site;
  memcpy(d.before, r.begin + offset, bytes);
  return true;
}

inline Verdict check_byte(Thread &t, const Region &r, Cell &c, int how, Mark &found) {
  const bool is_write = how & WRITE, is_new = c.write.time <= launch_start;
  if (c.flags & kPending && !is_new) return {MISSING_WAIT, &c.write, true};
  const bool needs_value = !is_write || (how & ATOMIC && !(how & OVER));
  if (needs_value && !(c.flags & kInit) && !r.initialised) return {UNINITIALISED, nullptr, false};
  if (!is_new) {
    if (how & CONSTANT) return {CONSTANT_WRITTEN, &c.write, true};
    const bool both_atomic = how & ATOMIC && c.flags & kAtomic;
    const bool over_atomic = c.flags & kAtomic;
    if (!both_atomic && !is_before(t, c.write.thread, c.write.time)) {
      const Mark *reader = is_write && !over_atomic ? unordered_reader(t, c, found) : nullptr;
      return {RACE, reader ? reader : &c.write, !reader};
    }
  }
  if (!is_write) return {NO_FAULT, nullptr, false};
  const Mark *reader = unordered_reader(t, c, found);
  return {reader ? RACE : NO_FAULT, reader, false};
}

inline void record(Thread &t, Cell &c, int how, void *site) {
  if (!(how & WRITE)) {
    if (!(how & ATOMIC)) add_reader(t, c, site);
    return;
  }
  free_readers(*t.block->worker, c);
  c.write = {now, t.id, place_of(site)};
  c.read.time = c.foreign.time = 0;
  c.flags = (u8)(kInit | (how & ATOMIC ? kAtomic : 0) | (how & ASYNC ? kPending : 0));
}

/* -- where an address is ------------------------------------------------------------------------ */

inline Region *region_at(Thread &t, u64 p) {
  Region &shared = t.block->shared;
  const int64_t from_shared = (int64_t)(p - (u64)shared.begin);
  if (from_shared >= 0 && from_shared < (int64_t)shared.bytes) return &shared;
  if (slots && p >= (u64)slots) {
    const u64 slot = (p - (u64)slots) / slot_bytes;
    if (slot < regions.size()) return &regions[slot];
  }
  constexpr int64_t near = 8 << 20;
  return from_shared > -near && from_shared < near ? &shared : nullptr;
}

/* Constants and static data of the text itself. */
inline bool is_static_data(u64 p) {
  Dl_info info;
  return dladdr((void *)p, &info) && (u64)info.dli_fbase == library_base;
}

/* What the compiler fills uninitialised locals with; Clang's floats have all bits set. */
constexpr u8 kPattern = TL_EMU_PATTERN, kFloatPattern = TL_EMU_PATTERN == 0xaa ? 0xff : kPattern;

inline void access_stack(Thread &t, u64 p, size_t bytes, int how, void *site) {
  u8 *marks = t.written + (p - (u64)t.stack);
  if (how & WRITE) {
    memset(marks, 1, bytes);
    return;
  }
  const u8 *values = (const u8 *)p;
  if (values[0] != kPattern && values[0] != kFloatPattern) return;
  for (size_t i = 0; i < bytes; i++)
    if (marks[i] || values[i] != values[0]) return;
  report_memory(STACK_UNINITIALISED, &t, site, nullptr, 0, bytes, false, nullptr, false);
  leave();
}

[[noreturn]] inline void fail(int kind, Thread &t, const Region *r, int64_t offset, size_t bytes,
                              int how, void *site) {
  report_memory(kind, &t, site, r, offset, bytes, how & WRITE, nullptr, false);
  leave();
}

void access(Thread &t, const void *address, size_t bytes, int how, void *site) {
  const u64 p = (u64)address;
  settle(*t.block->worker);
  if (p - (u64)t.stack < kStackBytes) return access_stack(t, p, bytes, how, site);
  Region *r = region_at(t, p);
  if (!r) {
    if (is_static_data(p)) return;
    fail(WILD, t, nullptr, (int64_t)p, bytes, how, site);
  }
  const int64_t offset = (int64_t)(p - (u64)r->begin);
  if (offset < 0 || offset + (int64_t)bytes > (int64_t)r->bytes)
    fail(OUT_OF_BOUNDS, t, r, offset, bytes, how, site);
  if (!(how & LOOSE) && p % bytes) fail(MISALIGNED, t, r, offset, bytes, how, site);
  if (how & ASYNC && r->index != -1) fail(NOT_SHARED, t, r, offset, bytes, how, site);
  Mark found;
  for (size_t i = 0; i < bytes; i++) {
    Cell &c = r->cells[offset + (int64_t)i];
    const Verdict v = check_byte(t, *r, c, how, found);
    const bool overwrites = v.kind == RACE && v.other_writes && !(c.flags & kAtomic);
    if (v.kind != NO_FAULT &&
        !(overwrites && doubted(t, *r, offset, offset + (int64_t)i, bytes, how, v.other, site))) {
      report_memory(v.kind, &t, site, r, offset + (int64_t)i, bytes, how & WRITE, v.other,
                    v.other_writes);
      leave();
    }
    record(t, c, how, site);
  }
}

} // namespace tl_emu

#endif
