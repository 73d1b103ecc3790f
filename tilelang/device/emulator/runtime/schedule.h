/* Runs blocks: picks a ready fiber by chance, until all are done or something fails. Blocks wait for
 * a free place in order; several are resident at a time, and more are let in while all that are
 * there only poll memory for what another block has to write. */
#ifndef TL_EMU_SCHEDULE_H
#define TL_EMU_SCHEDULE_H

#include <stdarg.h>

#include "state.h"

namespace tl_emu {

thread_local Worker *worker = nullptr;
u32 now = 0, launch_start = 0, ordered_until = 0;
std::vector<Region> regions;
char *slots = nullptr;
size_t slot_bytes = 0;
tl_emu_fault fault;
std::mutex fault_lock;
u64 library_base = 0;

constexpr u32 kPollsBeforeMore = 64, kPollsBeforeFault = 4u << 20;
constexpr size_t kMostFibers = 1 << 14;

/* -- faults ------------------------------------------------------------------------------------- */

Party party_of(const Thread *t, u64 place, bool is_write) {
  Party party = {};
  if (!t) return party;
  const Index &b = t->block->at;
  return {{b.x, b.y, b.z}, {t->at.x, t->at.y, t->at.z}, place, 1, is_write};
}

inline Party party_of(const Mark &mark, bool is_write) {
  const Launch &l = *worker->launch;
  const u32 b = mark.thread >> kThreadBits, t = mark.thread & (kMaxThreads - 1);
  return {{b % l.grid.x, b / l.grid.x % l.grid.y, b / l.grid.x / l.grid.y},
          {t % l.extent.x, t / l.extent.x % l.extent.y, t / l.extent.x / l.extent.y},
          mark.place, 1, is_write};
}

inline bool begin_report(int kind) {
  worker->launch->failed = true;
  if (fault.kind != NO_FAULT) return false;
  fault = {};
  fault.kind = kind;
  fault.region = -2;
  return true;
}

void report(int kind, const Thread *t, void *site, const char *format, ...) {
  std::lock_guard<std::mutex> guard(fault_lock);
  if (!begin_report(kind)) return;
  fault.at = party_of(t, place_of(site), false);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(fault.text, sizeof(fault.text), format, arguments);
  va_end(arguments);
}

void report_memory(int kind, const Thread *t, void *site, const Region *region, int64_t offset,
                   size_t bytes, bool is_write, const Mark *other, bool other_writes) {
  std::lock_guard<std::mutex> guard(fault_lock);
  if (!begin_report(kind)) return;
  fault.region = region ? region->index : kind == STACK_UNINITIALISED ? -3 : -2;
  fault.offset = offset;
  fault.bytes = (int32_t)bytes;
  fault.at = party_of(t, place_of(site), is_write);
  if (other) fault.other = party_of(*other, other_writes);
}

/* -- switching ---------------------------------------------------------------------------------- */

inline void to_scheduler() {
  Worker &w = *worker;
  settle(w);
  switch_context(w.current->context, w.home);
}

void leave() {
  to_scheduler();
  __builtin_unreachable(); /* nobody makes it ready again: the launch has failed */
}

void suspend() { to_scheduler(); }

void make_ready(Thread *t) {
  t->waiting = RUNNING;
  t->block->ready.push_back(t);
}

/* The current thread stays ready, but others may run before it goes on. */
inline void yield() {
  make_ready(worker->current);
  suspend();
}

void poll() {
  if (!self()) return;
  Worker &w = *worker;
  w.polls++;
  yield();
}

void lane_left(Thread &t);          /* warp.h */
void thread_left(Thread &t);        /* barrier.h */
void land_everything(Thread &t);    /* async.h */

inline void run_thread() {
  Thread &t = *worker->current;
  worker->launch->entry(worker->launch->args);
  land_everything(t);
  t.waiting = EXITED;
  t.site = nullptr;
  t.block->alive--;
  worker->polls = 0;
  lane_left(t);
  thread_left(t);
  leave();
}

/* -- blocks ------------------------------------------------------------------------------------- */

inline char *take_stack(Worker &w) {
  if (!w.stacks.empty()) {
    char *stack = w.stacks.back();
    w.stacks.pop_back();
    return stack;
  }
  /* the marks of what was written lie above the stack; below it, a page nobody may touch */
  char *memory = reserve(kGuardBytes + 2 * kStackBytes);
  if (!memory) return nullptr;
  mprotect(memory, kGuardBytes, PROT_NONE);
  return memory + kGuardBytes;
}

inline void start_thread(Block &b, u32 index, char *stack) {
  const Index &e = b.worker->launch->extent;
  Thread &t = b.threads[index];
  t.block = &b;
  t.index = index;
  t.id = b.id << kThreadBits | index;
  t.at = {index % e.x, index / e.x % e.y, index / e.x / e.y};
  t.stack = stack;
  t.written = (u8 *)stack + kStackBytes;
  t.waiting = RUNNING;
  t.site = nullptr;
  t.context = new_context(stack, run_thread);
  b.ready.push_back(&t);
}

inline bool start_block(Worker &w, u64 number) {
  const Launch &l = *w.launch;
  std::unique_ptr<Block> b(new Block);
  b->worker = &w;
  b->id = (u32)number;
  b->at = {(u32)(number % l.grid.x), (u32)(number / l.grid.x % l.grid.y),
           (u32)(number / l.grid.x / l.grid.y)};
  b->alive = l.threads;
  b->threads.resize(l.threads);
  for (u32 i = 0; i < l.threads; i++) {
    char *stack = take_stack(w);
    if (!stack) {
      report(RESOURCE, nullptr, nullptr, "no memory for the stacks of %u threads", l.threads);
      return false;
    }
    start_thread(*b, i, stack);
  }
  b->kept.assign(w.arena_bytes, (char)next_random(w.random));
  b->shared = {w.arena, w.arena_bytes, nullptr, false, -1};
  if (l.checks) b->shared.cells = (Cell *)reserve((w.arena_bytes + 16) * sizeof(Cell));
  w.resident.push_back(std::move(b));
  return true;
}

inline void end_block(Worker &w, size_t place) {
  Block &b = *w.resident[place];
  for (Thread &t : b.threads) w.stacks.push_back(t.stack);
  for (size_t i = 0; b.shared.cells && i < b.shared.bytes; i++)
    if (b.shared.cells[i].readers) w.free_sets.push_back(b.shared.cells[i].readers - 1);
  if (b.shared.cells) munmap(b.shared.cells, (b.shared.bytes + 16) * sizeof(Cell));
  if (w.loaded == &b) w.loaded = nullptr;
  w.resident.erase(w.resident.begin() + (long)place);
}

inline void load_block(Worker &w, Block &b) {
  if (w.loaded == &b) return;
  if (w.loaded) memcpy(w.loaded->kept.data(), w.arena, w.arena_bytes);
  memcpy(w.arena, b.kept.data(), w.arena_bytes);
  worker = &w; /* is itself among the variables where the text has shared ones of its own */
  w.loaded = &b;
}

void describe_deadlock(Block &b); /* barrier.h */

inline void run_one(Worker &w, Block &b) {
  load_block(w, b);
  const size_t pick = next_random(w.random) % b.ready.size();
  Thread *t = b.ready[pick];
  b.ready[pick] = b.ready.back();
  b.ready.pop_back();
  w.current = t;
  switch_context(w.home, t->context);
  w.current = nullptr;
}

/* Whether another block may come in beside those that are there. */
inline bool admit(Worker &w, size_t most) {
  Launch &l = *w.launch;
  if (w.resident.size() >= most || w.resident.size() * l.threads > kMostFibers) return false;
  const u64 number = l.next_block++;
  return number < l.blocks && start_block(w, number);
}

/* A resident block with a ready thread: most often the one that runs already. */
inline Block *pick_block(Worker &w) {
  if (w.loaded && !w.loaded->ready.empty() && next_random(w.random) % 16) return w.loaded;
  const size_t count = w.resident.size(), first = next_random(w.random) % count;
  for (size_t i = 0; i < count; i++) {
    Block *b = w.resident[(first + i) % count].get();
    if (!b->ready.empty()) return b;
  }
  return nullptr;
}

inline void run_blocks(Worker &w) {
  size_t most = 1 + next_random(w.random) % 3;
  while (!w.launch->failed) {
    while (admit(w, most)) {}
    if (w.resident.empty()) return;
    Block *b = pick_block(w);
    if (!b) {
      if (!w.grid.empty() && admit(w, w.resident.size() + 1)) continue;
      return describe_deadlock(*w.resident[0]);
    }
    run_one(w, *b);
    if (b->alive == 0)
      for (size_t i = 0; i < w.resident.size(); i++)
        if (w.resident[i].get() == b) end_block(w, i--);
    if (w.polls && w.polls % kPollsBeforeMore == 0) most = w.resident.size() + 1;
    if (w.polls > kPollsBeforeFault)
      return report(SPIN, b->ready.empty() ? nullptr : b->ready[0], nullptr,
                    "threads only wait for a value in memory that nobody writes");
  }
}

} // namespace tl_emu

#endif
