/* Entry points for the Python side: memory of a session, a launch, the fault. And what the text asks
 * of the machine: indices, rounding, traps. */
#ifndef TL_EMU_LAUNCH_H
#define TL_EMU_LAUNCH_H

#include <cfenv>
#include <cmath>
#include <cstdlib>
#include <link.h>

#include <thread>

#include "async.h"
#include "atomic.h"
#include "instrument.h"
#include "matrix.h"
#include "wgmma.h"

extern "C" {
extern char *tl_emu_arena(void);          /* of this OS thread; defined beside the text */
extern const uint64_t tl_emu_arena_bytes; /* its largest size */
extern const int tl_emu_static_shared;    /* whether the text has other shared variables, too */
}

namespace tl_emu {

constexpr int kMostRegions = 1024;
constexpr size_t kSlotBytes = (size_t)8 << 30; /* most of it out of bounds on purpose */

struct Backing { char *host; size_t bytes; bool initialised; };
inline std::vector<Backing> backings;

/* -- memory of a session ------------------------------------------------------------------------ */

inline size_t page_rounded(size_t bytes) { return (bytes + 4095) / 4096 * 4096; }

inline void drop_memory() {
  for (Region &r : regions)
    if (r.cells) munmap(r.cells, (r.bytes + 16) * sizeof(Cell));
  if (slots) munmap(slots, slot_bytes * kMostRegions);
  regions.clear();
  backings.clear();
  slots = nullptr;
}

/* A region with as much address space on either side of it that no buffer uses. */
inline char *add_region(char *host, size_t bytes, bool initialised) {
  if (regions.size() == kMostRegions) return nullptr;
  for (slot_bytes = slots ? slot_bytes : kSlotBytes; !slots; slot_bytes /= 4) {
    if (slot_bytes < bytes) return nullptr;
    slots = reserve(slot_bytes * kMostRegions, PROT_NONE);
    if (slots) break;
  }
  if (page_rounded(bytes) > slot_bytes / 2) return nullptr;
  char *begin = slots + regions.size() * slot_bytes + slot_bytes / 2 / 4096 * 4096;
  if (bytes && mprotect(begin, page_rounded(bytes), PROT_READ | PROT_WRITE)) return nullptr;
  Cell *cells = (Cell *)reserve((bytes + 16) * sizeof(Cell));
  if (!cells) return nullptr;
  if (host && bytes) memcpy(begin, host, bytes);
  regions.push_back({begin, bytes, cells, initialised, (int)regions.size()});
  backings.push_back({host, bytes, initialised});
  return begin;
}

/* -- shared memory of an OS thread ---------------------------------------------------------------- */

struct Range { char *begin; size_t bytes; };

/* All thread-local variables of this library: where the text declares shared variables beside the
 * arena, they are among them. */
inline Range thread_local_range() {
  Range found = {};
  auto look = [](dl_phdr_info *info, size_t, void *out) {
    if (info->dlpi_addr != library_base) return 0;
    for (int i = 0; i < info->dlpi_phnum; i++)
      if (info->dlpi_phdr[i].p_type == PT_TLS)
        *(Range *)out = {(char *)info->dlpi_tls_data, info->dlpi_phdr[i].p_memsz};
    return 1;
  };
  tl_emu_arena(); /* the variables exist once one of them was touched */
  dl_iterate_phdr(look, &found);
  return found;
}

/* -- a launch ----------------------------------------------------------------------------------- */

inline void work(Launch &launch, u64 seed) {
  Worker w;
  w.launch = &launch;
  w.random = seed;
  const Range shared =
      tl_emu_static_shared ? thread_local_range() : Range{tl_emu_arena(), launch.shared_bytes};
  w.arena = shared.begin;
  w.arena_bytes = shared.bytes;
  worker = &w;
  run_blocks(w);
  worker = nullptr;
  for (std::unique_ptr<Block> &b : w.resident) { /* only after a fault */
    for (Thread &t : b->threads) w.stacks.push_back(t.stack);
    if (b->shared.cells) munmap(b->shared.cells, (b->shared.bytes + 16) * sizeof(Cell));
  }
  for (char *stack : w.stacks) munmap(stack - kGuardBytes, kGuardBytes + 2 * kStackBytes);
}

} // namespace tl_emu

#pragma GCC visibility push(default)
extern "C" {

/* Begins a session; memory of an earlier one is gone. */
void tl_emu_begin() {
  using namespace tl_emu;
  Dl_info info;
  if (dladdr((void *)&tl_emu_begin, &info)) library_base = (u64)info.dli_fbase;
  drop_memory();
  fault = {};
}

/* A copy of `bytes` of host memory (null: none) with out-of-bounds space around; null: no memory. */
void *tl_emu_add(void *host, uint64_t bytes, int initialised) {
  return tl_emu::add_region((char *)host, bytes, initialised);
}

/* Copies regions back to the host. */
void tl_emu_collect() {
  using namespace tl_emu;
  for (size_t i = 0; i < regions.size(); i++)
    if (backings[i].host && backings[i].bytes)
      memcpy(backings[i].host, regions[i].begin, backings[i].bytes);
}

void tl_emu_end() { tl_emu::drop_memory(); }

const tl_emu_fault *tl_emu_last_fault() { return &tl_emu::fault; }

uint64_t tl_emu_library_base() { return tl_emu::library_base; }

/* Runs a kernel; `dims`: grid, block. 0, or the kind of fault. `workers`: OS threads; one with
 * checks. */
int tl_emu_launch(void (*entry)(void **), const uint32_t *dims, uint32_t shared_bytes, void **args,
                  uint64_t seed, int checks, int workers) {
  using namespace tl_emu;
  Launch l;
  l.entry = entry;
  l.args = args;
  l.grid = {dims[0], dims[1], dims[2]};
  l.extent = {dims[3], dims[4], dims[5]};
  l.threads = dims[3] * dims[4] * dims[5];
  l.shared_bytes = shared_bytes;
  l.seed = seed;
  l.checks = checks;
  l.blocks = (u64)dims[0] * dims[1] * dims[2];
  fault = {};
  if (l.threads == 0 || l.threads > kMaxThreads || shared_bytes > tl_emu_arena_bytes) {
    fault.kind = RESOURCE;
    fault.region = -2;
    snprintf(fault.text, sizeof(fault.text),
             "%u threads (1 to 1024) and %u bytes of shared memory (at most %zu) in a block",
             l.threads, shared_bytes, (size_t)tl_emu_arena_bytes);
    return fault.kind;
  }
  ordered_until = launch_start = now++;
  if (checks || workers < 2) {
    work(l, seed);
  } else {
    std::vector<std::thread> team;
    for (int i = 0; i < workers; i++)
      team.emplace_back([&l, seed, i] { work(l, seed + (u64)i * 0x632be59bd9b4e019ull); });
    for (std::thread &member : team) member.join();
  }
  return fault.kind;
}
}
#pragma GCC visibility pop

extern "C" {
/* -- what the text asks ------------------------------------------------------------------------- */

using tl_emu::Index;
Index tl_emu_thread_index() { return tl_emu::self()->at; }
Index tl_emu_block_index() { return tl_emu::self()->block->at; }
Index tl_emu_block_extent() { return tl_emu::worker->launch->extent; }
Index tl_emu_grid_extent() { return tl_emu::worker->launch->grid; }

int tl_emu_printf(const char *format, ...) {
  char line[400];
  va_list arguments;
  va_start(arguments, format);
  const int length = vsnprintf(line, sizeof(line), format, arguments);
  va_end(arguments);
  tl_emu::self()->printed = line;
  fputs(line, stdout);
  fflush(stdout);
  return length;
}

/* An assertion prints its message, then traps. */
void tl_emu_trap() {
  std::string said = tl_emu::self()->printed;
  while (!said.empty() && said.back() == '\n') said.pop_back();
  tl_emu::report(tl_emu::TRAP, tl_emu::self(), TL_EMU_SITE, "the kernel stopped itself%s%s",
                 said.empty() ? "" : " after printing: ", said.c_str());
  tl_emu::leave();
}
}

/* -- one operation in a rounding direction ------------------------------------------------------- */

#define TL_EMU_DIRECTED(name, R, params, direction, suffix, expression)                 \
  extern "C" R name##suffix params {                                                          \
    const int before = fegetround();                                                          \
    fesetround(direction);                                                                    \
    volatile R result = expression;                                                           \
    fesetround(before);                                                                       \
    return result;                                                                            \
  }
#define TL_EMU_ROUNDED(name, R, params, expression)                                 \
  TL_EMU_DIRECTED(name, R, params, FE_TONEAREST, _rn, expression)                 \
  TL_EMU_DIRECTED(name, R, params, FE_UPWARD, _ru, expression)                    \
  TL_EMU_DIRECTED(name, R, params, FE_DOWNWARD, _rd, expression)                  \
  TL_EMU_DIRECTED(name, R, params, FE_TOWARDZERO, _rz, expression)
#define TL_EMU_ROUNDED_ALL(f, C, fmaname, libfma, libsqrt)                       \
  TL_EMU_ROUNDED(__##f##add, C, (volatile C x, volatile C y), x + y)                \
  TL_EMU_ROUNDED(__##f##sub, C, (volatile C x, volatile C y), x - y)                \
  TL_EMU_ROUNDED(__##f##mul, C, (volatile C x, volatile C y), x *y)                 \
  TL_EMU_ROUNDED(__##f##div, C, (volatile C x, volatile C y), x / y)                \
  TL_EMU_ROUNDED(fmaname, C, (volatile C x, volatile C y, volatile C z), libfma(x, y, z)) \
  TL_EMU_ROUNDED(__##f##rcp, C, (volatile C x), 1 / x)                              \
  TL_EMU_ROUNDED(__##f##sqrt, C, (volatile C x), libsqrt(x))
TL_EMU_ROUNDED_ALL(f, float, __fmaf, fmaf, sqrtf)
TL_EMU_ROUNDED_ALL(d, double, __fma, fma, sqrt)
TL_EMU_ROUNDED(__double2float, float, (volatile double x), (float)x)

#endif
