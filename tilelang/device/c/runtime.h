/* The thread pool that runs the blocks of a kernel on the CPU: the only symbols of runtime.c.
 *
 * Built once into a shared library which the host side loads and never unloads (its workers live as
 * long as the process). Generated kernels do not link against it: they receive the address of
 * tl_parallel_for. Not here: what a block does, how memory inside the arena is divided. */
#ifndef TL_RUNTIME_H
#define TL_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define TL_API __declspec(dllexport)
#else
#define TL_API __attribute__((visibility("default")))
#endif

/* Runs blocks [begin, end). `arena` is this thread's scratch: 64-byte aligned, at least the
 * arena_bytes of the call, contents undefined, not kept from one call of fn to the next. */
typedef void (*tl_block_fn)(void *args, int64_t begin, int64_t end, char *arena);

typedef int (*tl_parallel_for_fn)(tl_block_fn fn, void *args, int64_t num_blocks,
                                  size_t arena_bytes);

/* Calls fn until each of [0, num_blocks) has run exactly once, and returns when all have.
 * 0: done. 1: out of memory, and then no block has run.
 * May be called from any thread at any time, also from inside fn (runs on that thread alone). */
TL_API int tl_parallel_for(tl_block_fn fn, void *args, int64_t num_blocks, size_t arena_bytes);

/* Threads used by later calls, the caller included; n <= 0: one per usable CPU (the default). */
TL_API void tl_set_num_threads(int n);
TL_API int tl_get_num_threads(void);

#endif
