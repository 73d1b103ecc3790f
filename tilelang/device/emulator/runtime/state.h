/* What a running kernel consists of: memory regions, a launch, its blocks, their threads; and the
 * first fault. The interface to the Python side is at the end. */
#ifndef TL_EMU_STATE_H
#define TL_EMU_STATE_H

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <string>
#include <vector>

#include "fiber.h"

namespace tl_emu {

using u8 = unsigned char;
using u32 = uint32_t;
using u64 = uint64_t;

constexpr u32 kWarp = 32, kMaxThreads = 1024, kThreadBits = 10;

struct Index { u32 x, y, z; };

/* -- faults ------------------------------------------------------------------------------------- */

enum FaultKind {
  NO_FAULT, OUT_OF_BOUNDS, UNINITIALISED, RACE, MISSING_WAIT, MISALIGNED, WILD, NOT_SHARED,
  CONSTANT_WRITTEN, LANES, BARRIER, DEADLOCK, SPIN, TRAP, RESOURCE, STACK_UNINITIALISED
};

struct Party { /* a thread and the place where it was */
  u32 block[3], thread[3];
  u64 place; /* return address less the library's base; 0: unknown */
  int known, is_write;
};

} // namespace tl_emu

extern "C" {
struct tl_emu_fault {
  int kind;
  int region;     /* index of the buffer group; -1: the shared arena, -2: none, -3: a local array */
  int64_t offset; /* bytes from the region's start */
  int32_t bytes;
  tl_emu::Party at, other;
  char text[400]; /* more, in words */
};
}

namespace tl_emu {

/* -- memory ------------------------------------------------------------------------------------- */

constexpr u8 kInit = 1, kPending = 2, kAtomic = 4;

/* The last accesses of one byte. A time of 0 is "none". */
struct Mark { u32 time, thread, place; };
struct Cell {
  Mark write, read;
  Mark foreign; /* a reader of another block than `read` */
  u32 readers;  /* index + 1 of the reader set, where several threads of a block read */
  u8 flags;
};

struct Region {
  char *begin;
  size_t bytes;
  Cell *cells;
  bool initialised;
  int index;
};

/* What a thread knows of its block: accesses of thread u up to `upto[u]` come before its next. */
struct Knowledge {
  u32 least; /* of upto */
  std::vector<u32> upto;
};
using Known = std::shared_ptr<const Knowledge>;

/* -- threads ------------------------------------------------------------------------------------ */

struct Block;
struct Worker;

enum Waiting { RUNNING, AT_BARRIER, AT_WARP, EXITED };

struct Copy { char *dst; const char *src; u32 bytes, src_bytes; bool landed; void *site; };

struct WarpCall {
  int op;
  u32 mask;
  bool aligned;
  void *data;
};

struct WgmmaData { /* one lane's part of a product of a warp group; see wgmma.h */
  float *d;
  const unsigned short *a; /* null: in shared memory */
  u64 matrix[2];           /* descriptors of a and b */
  int columns, is_bfloat16, turned[2], is_new;
};
using Products = std::vector<std::vector<WgmmaData>>; /* each with its 32 lanes */

struct Thread {
  Block *block;
  u32 index, id; /* id: block << kThreadBits | index */
  Index at;
  Context context;
  char *stack;
  u8 *written; /* per byte of the stack: whether the text wrote it */
  Waiting waiting;
  void *site; /* where it waits, or exited from nowhere */
  WarpCall call;
  Known known;
  std::vector<Copy> open;              /* not committed */
  std::deque<std::vector<Copy>> groups; /* committed, oldest first */
  Products open_products;               /* of the warp; only its first thread has any */
  std::deque<Products> products;        /* committed, oldest first */
  std::string printed;                  /* the last line */
};

struct Arrival { Thread *thread; u32 time; void *site; bool waits; };

struct Barrier {
  u32 expected = 0;
  bool whole = false; /* all threads of the block */
  std::vector<Arrival> arrivals;
  int combined[3]; /* count, and, or of the last generation */
  u32 votes = 0;
};

struct ReaderSet { u32 latest; std::vector<u32> times; };

/* A write over a write that it does not come after: no race if it leaves the value as it was, and
 * what it leaves is not known before it has happened. */
struct Doubt {
  Thread *thread = nullptr; /* null: there is none */
  const Region *region;
  int64_t offset, at; /* of the write; of the first byte in question */
  size_t bytes;
  Mark other;
  void *site;
  char before[16];
};

struct Block {
  Worker *worker;
  u32 id;
  Index at;
  std::vector<Thread> threads;
  std::vector<Thread *> ready;
  Barrier barriers[16];
  u32 alive;
  Region shared;
  std::vector<char> kept;              /* shared memory while another block runs */
  std::unordered_map<u32, u32> others; /* block -> time up to which it is known */
  std::vector<u32> unfenced;           /* blocks and times read by relaxed atomics */
  bool fenced = false;
};

/* What a release left at an address for who acquires it. */
struct Released { std::unordered_map<u32, u32> blocks; u32 block; std::vector<u32> upto; };

struct Launch {
  void (*entry)(void **);
  void **args;
  Index grid, extent;
  u32 threads, shared_bytes;
  u64 seed;
  bool checks;
  std::atomic<u64> next_block{0};
  u64 blocks;
  std::atomic<bool> failed{false};
};

/* One OS thread and the blocks it runs. */
struct Worker {
  Launch *launch;
  Context home;
  Thread *current = nullptr;
  Block *loaded = nullptr; /* whose shared memory is in the arena */
  std::vector<std::unique_ptr<Block>> resident;
  std::vector<char *> stacks; /* free */
  Doubt doubt;
  std::vector<ReaderSet> sets;
  std::vector<u32> free_sets;
  std::unordered_map<u64, Released> released;
  u64 random;
  std::vector<Thread *> grid; /* waiting for all threads of the grid */
  u32 polls = 0; /* since something else happened */
  char *arena;
  size_t arena_bytes;
  Context first; /* scratch */
};

inline u64 next_random(u64 &state) {
  state += 0x9e3779b97f4a7c15ull;
  u64 z = state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

extern thread_local Worker *worker; /* of this OS thread; null outside a launch */
extern u32 now;                     /* event counter of the checks; they run in one OS thread */
extern u32 launch_start;            /* its value when the launch began */
extern u32 ordered_until;           /* up to there everyone knows everything */
extern std::vector<Region> regions;
extern char *slots;
extern size_t slot_bytes;
extern tl_emu_fault fault;
extern std::mutex fault_lock;
extern u64 library_base;

inline Thread *self() { return worker ? worker->current : nullptr; }
inline u32 place_of(void *site) { return site ? (u32)((u64)site - library_base) : 0; }

[[noreturn]] void leave(); /* the current fiber, for good: something failed */
void suspend();            /* until someone makes the current thread ready */
void make_ready(Thread *thread);
void poll();

/* Keeps the first fault. `thread` null: nobody in particular. */
void report(int kind, const Thread *thread, void *site, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void report_memory(int kind, const Thread *thread, void *site, const Region *region, int64_t offset,
                   size_t bytes, bool is_write, const Mark *other, bool other_writes);
Party party_of(const Thread *thread, u64 place, bool is_write);

/* checks.h */
enum How { READ = 0, WRITE = 1, ATOMIC = 2, CONSTANT = 4, ASYNC = 8, LOOSE = 16, OVER = 32 };
void access(Thread &t, const void *p, size_t bytes, int how, void *site);
void settle(Worker &w); /* before the next access, and before another thread runs */

} // namespace tl_emu

#define TL_EMU_SITE __builtin_return_address(0)

#endif
