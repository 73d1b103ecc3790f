/* Thread pool behind tl_parallel_for (see runtime.h). POSIX, C11 atomics; serial on Windows.
 *
 * One job at a time: its owner is the thread that won `owned`; every other concurrent or nested
 * caller runs its own blocks itself. The gate is one word, `tickets << 16 | active`:
 *   tickets  how many more workers may join the job; 0 = closed, `job` may be rewritten
 *   active   workers inside the job
 * A worker joins by moving one ticket to `active` in a single compare-and-swap, so a worker that
 * wakes late finds no ticket and nobody ever waits for it. The owner closes the gate when the
 * blocks have run out, then waits for active == 0. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1 /* sched_getaffinity, MADV_HUGEPAGE */
#endif
#include "runtime.h"

#include <stdlib.h>

#define ARENA_ALIGN 64

/* Streaming stores (stream.h) are weakly ordered on x86: they must be visible before a kernel ends. */
static inline void finish_streams(void) {
#if defined(__x86_64__) || defined(_M_X64)
  __builtin_ia32_sfence();
#endif
}

#if defined(_WIN32)

#include <malloc.h>

int tl_parallel_for(tl_block_fn fn, void *args, int64_t num_blocks, size_t arena_bytes) {
  if (num_blocks <= 0) return 0;
  char *arena = arena_bytes ? _aligned_malloc(arena_bytes, ARENA_ALIGN) : NULL;
  if (arena_bytes && !arena) return 1;
  fn(args, 0, num_blocks, arena);
  finish_streams();
  _aligned_free(arena);
  return 0;
}

void tl_set_num_threads(int n) { (void)n; }

int tl_get_num_threads(void) { return 1; }

#else

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>
#if defined(__linux__)
#include <sched.h>
#endif

#define MAX_THREADS 1024
#define HUGE_PAGE ((size_t)2 << 20)
#define WORKER_STACK_BYTES ((size_t)8 << 20)
#define SPIN_ROUNDS 300      /* of 16 pauses: 50-200 microseconds, the gap between two calls */
#define CHUNKS_PER_THREAD 16 /* balance against the cost of one atomic add per chunk */
#define TICKET (1u << 16)
#define ACTIVE_MASK (TICKET - 1)

struct arena {
  char *base;
  size_t bytes;
};

struct thread_state {
  struct arena arena;
  int depth; /* > 0: a block is running on this thread and owns the arena */
};

struct job { /* written by the owner while the gate is closed and nobody is active */
  tl_block_fn fn;
  void *args;
  int64_t num_blocks, chunk;
  size_t arena_bytes;
};

static _Thread_local struct thread_state self;
static struct job job;
static _Alignas(64) _Atomic(int64_t) next_block;
static _Alignas(64) _Atomic(uint32_t) gate;
static _Alignas(64) atomic_bool owned;
static atomic_int num_threads_wanted;  /* 0: not chosen yet */
static pthread_t workers[MAX_THREADS]; /* the first num_workers are started; for the owner only */
static int num_workers;
static int avoided_cpu = -1; /* the CPU that no worker may run on: the owner's */
static atomic_int num_sleeping, owner_sleeps;
static pthread_mutex_t sleep_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t job_opened = PTHREAD_COND_INITIALIZER;
static pthread_cond_t job_left = PTHREAD_COND_INITIALIZER;
static pthread_once_t setup_once = PTHREAD_ONCE_INIT;
static pthread_key_t exit_key;

/* ---- arenas ------------------------------------------------------------------------------- */

/* Aligned to ARENA_ALIGN, or to huge pages where the size is worth one; NULL if out of memory. */
static char *allocate_arena(size_t bytes, size_t *rounded) {
  size_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : bytes >= 4096 ? 4096 : ARENA_ALIGN;
  if (bytes > SIZE_MAX - align) return NULL;
  *rounded = (bytes + align - 1) / align * align;
  void *base;
  if (posix_memalign(&base, align, *rounded)) return NULL;
#if defined(MADV_HUGEPAGE)
  if (align == HUGE_PAGE) madvise(base, *rounded, MADV_HUGEPAGE); /* a hint: failure is harmless */
#endif
  return base;
}

/* Grows this thread's arena to at least `bytes`; contents are lost. 0 or 1 (out of memory). */
static int reserve_arena(size_t bytes) {
  if (bytes <= self.arena.bytes) return 0;
  size_t rounded;
  char *base = allocate_arena(bytes, &rounded);
  if (!base) return 1;
  free(self.arena.base);
  self.arena = (struct arena){base, rounded};
  pthread_setspecific(exit_key, base); /* freed when the thread ends */
  return 0;
}

/* ---- set-up -------------------------------------------------------------------------------- */

static int count_usable_cpus(void) {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  long n = sysconf(_SC_NPROCESSORS_ONLN);
  return n < 1 ? 1 : (int)n;
}

/* The child of a fork has only the forking thread: forget the workers, release what they held. */
static void reset_after_fork(void) {
  num_workers = 0;
  avoided_cpu = -1;
  atomic_store(&gate, 0);
  atomic_store(&num_sleeping, 0);
  atomic_store(&owner_sleeps, 0);
  atomic_store(&owned, 0);
  pthread_mutex_init(&sleep_lock, NULL);
  pthread_cond_init(&job_opened, NULL);
  pthread_cond_init(&job_left, NULL);
}

static void set_up(void) {
  pthread_key_create(&exit_key, free);
  pthread_atfork(NULL, NULL, reset_after_fork);
}

void tl_set_num_threads(int n) {
  if (n <= 0) n = count_usable_cpus();
  atomic_store(&num_threads_wanted, n > MAX_THREADS ? MAX_THREADS : n);
}

int tl_get_num_threads(void) {
  if (!atomic_load(&num_threads_wanted)) tl_set_num_threads(0);
  return atomic_load(&num_threads_wanted);
}

/* ---- workers ------------------------------------------------------------------------------- */

static inline void pause_briefly(void) {
  for (int i = 0; i < 16; i++) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
  }
}

static int try_join(void) {
  uint32_t seen = atomic_load(&gate);
  while (seen >= TICKET)
    if (atomic_compare_exchange_weak(&gate, &seen, seen - TICKET + 1)) return 1;
  return 0;
}

/* The last to leave wakes an owner that went to sleep waiting. */
static void leave(void) {
  if (((atomic_fetch_sub(&gate, 1) - 1) & ACTIVE_MASK) || !atomic_load(&owner_sleeps)) return;
  pthread_mutex_lock(&sleep_lock);
  pthread_cond_signal(&job_left);
  pthread_mutex_unlock(&sleep_lock);
}

static void run_chunks(void) {
  self.depth++;
  for (;;) {
    int64_t begin = atomic_fetch_add_explicit(&next_block, job.chunk, memory_order_relaxed);
    if (begin >= job.num_blocks) break;
    int64_t left = job.num_blocks - begin;
    job.fn(job.args, begin, begin + (left < job.chunk ? left : job.chunk), self.arena.base);
  }
  self.depth--;
  finish_streams();
}

/* Between counting itself as asleep and waiting, the worker looks at the gate again; the owner
 * opens the gate before it looks at the count. One of the two sees the other, so no wake-up is
 * lost. */
static void wait_for_ticket(void) {
  for (int i = 0; i < SPIN_ROUNDS; i++) {
    if (atomic_load_explicit(&gate, memory_order_relaxed) >= TICKET) return;
    pause_briefly();
  }
  pthread_mutex_lock(&sleep_lock);
  atomic_fetch_add(&num_sleeping, 1);
  while (atomic_load(&gate) < TICKET) pthread_cond_wait(&job_opened, &sleep_lock);
  atomic_fetch_sub(&num_sleeping, 1);
  pthread_mutex_unlock(&sleep_lock);
}

static void *worker_main(void *unused) {
  (void)unused;
  for (;;) {
    wait_for_ticket();
    if (!try_join()) continue;
    if (reserve_arena(job.arena_bytes) == 0)
      run_chunks(); /* out of memory: the others do the work */
    leave();
  }
  return NULL;
}

/* Signals stay with the program's own threads: workers start with all of them blocked. */
static void start_workers(int wanted) {
  pthread_attr_t attr;
  sigset_t all, before;
  pthread_attr_init(&attr);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attr, WORKER_STACK_BYTES);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (; num_workers < wanted; num_workers++) {
    if (pthread_create(&workers[num_workers], &attr, worker_main, NULL))
      break;          /* fewer do the work */
    avoided_cpu = -1; /* not said to this one yet */
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attr);
}

/* A woken worker is often put on the CPU of the thread that woke it, and waits there for
 * milliseconds behind the owner's own blocks (2 CPUs, Linux, 2026-11: a call of 1 ms took twice as
 * long). So workers are kept off the CPU the owner runs on, out of those the owner itself may use;
 * asked anew when it moved. */
static void keep_workers_off_this_cpu(void) {
#if defined(__linux__)
  const int cpu = sched_getcpu();
  cpu_set_t set;
  if (cpu < 0 || cpu == avoided_cpu || sched_getaffinity(0, sizeof set, &set)) return;
  avoided_cpu = cpu;
  CPU_CLR(cpu, &set);
  if (CPU_COUNT(&set) == 0) return;
  for (int i = 0; i < num_workers; i++) pthread_setaffinity_np(workers[i], sizeof set, &set);
#endif
}

/* ---- the call ------------------------------------------------------------------------------ */

/* A nested call must not touch the arena its own outer block is using. */
static int run_alone(tl_block_fn fn, void *args, int64_t num_blocks, size_t arena_bytes) {
  if (self.depth > 0) {
    size_t rounded;
    char *arena = arena_bytes ? allocate_arena(arena_bytes, &rounded) : NULL;
    if (arena_bytes && !arena) return 1;
    fn(args, 0, num_blocks, arena);
    finish_streams();
    free(arena);
    return 0;
  }
  if (reserve_arena(arena_bytes)) return 1;
  self.depth++;
  fn(args, 0, num_blocks, self.arena.base);
  self.depth--;
  finish_streams();
  return 0;
}

static void open_gate(int helpers) {
  atomic_store(&gate, (uint32_t)helpers * TICKET);
  if (!atomic_load(&num_sleeping)) return;
  pthread_mutex_lock(
      &sleep_lock); /* once: a worker past its last look at the gate is waiting now */
  pthread_mutex_unlock(&sleep_lock);
  if (helpers == 1) pthread_cond_signal(&job_opened);
  else pthread_cond_broadcast(&job_opened);
}

static void close_gate_and_wait(void) {
  atomic_fetch_and(&gate, ACTIVE_MASK);
  for (int i = 0; i < SPIN_ROUNDS; i++) {
    if (!atomic_load(&gate)) return;
    pause_briefly();
  }
  pthread_mutex_lock(&sleep_lock);
  atomic_store(&owner_sleeps, 1);
  while (atomic_load(&gate)) pthread_cond_wait(&job_left, &sleep_lock);
  atomic_store(&owner_sleeps, 0);
  pthread_mutex_unlock(&sleep_lock);
}

int tl_parallel_for(tl_block_fn fn, void *args, int64_t num_blocks, size_t arena_bytes) {
  if (num_blocks <= 0) return 0;
  pthread_once(&setup_once, set_up);
  int64_t threads = tl_get_num_threads();
  if (threads > num_blocks) threads = num_blocks;
  if (threads <= 1 || self.depth > 0 || atomic_exchange(&owned, 1))
    return run_alone(fn, args, num_blocks, arena_bytes);
  int failed =
      reserve_arena(arena_bytes); /* before any block runs: failing later would be half done */
  if (!failed) {
    start_workers((int)threads - 1);
    keep_workers_off_this_cpu();
    int64_t chunk = num_blocks / (threads * CHUNKS_PER_THREAD);
    job = (struct job){fn, args, num_blocks, chunk > 1 ? chunk : 1, arena_bytes};
    atomic_store(&next_block, 0);
    open_gate((int)threads - 1);
    run_chunks();
    close_gate_and_wait();
  }
  atomic_store(&owned, 0);
  return failed;
}

#endif
