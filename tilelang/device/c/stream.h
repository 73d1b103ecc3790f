/* Stores that go past the caches, for outputs that no cache would keep until they are read.
 *
 * A plain store first reads the line it is about to overwrite; a streaming one does not, so writing
 * a large tensor moves two thirds of the bytes. They are weakly ordered: the thread pool fences
 * after every run of blocks (runtime.c), so that other threads see them when a kernel has ended. */
#ifndef TL_STREAM_H
#define TL_STREAM_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define TL_STREAM_BYTES 64
#elif defined(__AVX2__)
#define TL_STREAM_BYTES 32
#else
#define TL_STREAM_BYTES 16
#endif
typedef long long tl_stream_word
    __attribute__((vector_size(TL_STREAM_BYTES), aligned(TL_STREAM_BYTES), may_alias));

static inline void tl_stream_line(tl_stream_word *dst, tl_stream_word value) {
#if defined(__clang__)
  __builtin_nontemporal_store(value, dst);
#elif defined(__AVX512F__)
  __builtin_ia32_movntdq512(dst, value);
#elif defined(__AVX2__)
  __builtin_ia32_movntdq256(dst, value);
#elif defined(__SSE2__)
  __builtin_ia32_movntdq(dst, value);
#else
  *dst = value;
#endif
}

/* Copies `bytes`, a multiple of 64, from `src` (64-byte aligned) to `dst`. */
static inline __attribute__((always_inline)) void tl_stream_store(void *dst, const void *src,
                                                                  size_t bytes) {
  if (((uintptr_t)dst & (TL_STREAM_BYTES - 1)) != 0) {
    memcpy(dst, src, bytes);
    return;
  }
  for (size_t i = 0; i < bytes / TL_STREAM_BYTES; ++i)
    tl_stream_line((tl_stream_word *)dst + i, ((const tl_stream_word *)src)[i]);
}

/* Asks for `bytes` from `src` on to be brought near. Never faults: the block that will read them may
 * not be there, and then neither may its rows. */
static inline __attribute__((always_inline)) void tl_stream_prefetch(const void *src,
                                                                     size_t bytes) {
  for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)src + i, 0, 2);
}

#endif
