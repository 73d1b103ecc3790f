/* The functions that code compiled with -fsanitize=thread calls before each access of memory. The
 * compiler's own runtime is not linked; these take its place. */
#ifndef TL_EMU_INSTRUMENT_H
#define TL_EMU_INSTRUMENT_H

#include "checks.h"

namespace tl_emu {
inline void seen(void *p, size_t bytes, int how, void *site) {
  Thread *t = self();
  if (t && t->block->worker->launch->checks) access(*t, p, bytes, how, site);
}
} // namespace tl_emu

#define TL_EMU_CALLBACK(name, bytes, how) \
  extern "C" void __tsan_##name(void *p) { tl_emu::seen(p, bytes, how, TL_EMU_SITE); }
#define TL_EMU_CALLBACKS(bytes)                                                         \
  TL_EMU_CALLBACK(read##bytes, bytes, tl_emu::READ)                                     \
  TL_EMU_CALLBACK(write##bytes, bytes, tl_emu::WRITE)                                   \
  TL_EMU_CALLBACK(volatile_read##bytes, bytes, tl_emu::READ)                            \
  TL_EMU_CALLBACK(volatile_write##bytes, bytes, tl_emu::WRITE)                          \
  TL_EMU_CALLBACK(unaligned_read##bytes, bytes, tl_emu::READ | tl_emu::LOOSE)           \
  TL_EMU_CALLBACK(unaligned_write##bytes, bytes, tl_emu::WRITE | tl_emu::LOOSE)         \
  TL_EMU_CALLBACK(unaligned_volatile_read##bytes, bytes, tl_emu::READ | tl_emu::LOOSE)  \
  TL_EMU_CALLBACK(unaligned_volatile_write##bytes, bytes, tl_emu::WRITE | tl_emu::LOOSE) \
  extern "C" void __tsan_read_write##bytes(void *p) {                                   \
    tl_emu::seen(p, bytes, tl_emu::READ, TL_EMU_SITE);                                  \
    tl_emu::seen(p, bytes, tl_emu::WRITE, TL_EMU_SITE);                                 \
  }                                                                                     \
  extern "C" void __tsan_unaligned_read_write##bytes(void *p) {                         \
    tl_emu::seen(p, bytes, tl_emu::READ | tl_emu::LOOSE, TL_EMU_SITE);                  \
    tl_emu::seen(p, bytes, tl_emu::WRITE | tl_emu::LOOSE, TL_EMU_SITE);                 \
  }
TL_EMU_CALLBACKS(1)
TL_EMU_CALLBACKS(2)
TL_EMU_CALLBACKS(4)
TL_EMU_CALLBACKS(8)
TL_EMU_CALLBACKS(16)

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}
void __tsan_read_range(void *p, unsigned long bytes) {
  tl_emu::seen(p, bytes, tl_emu::READ | tl_emu::LOOSE, TL_EMU_SITE);
}
void __tsan_write_range(void *p, unsigned long bytes) {
  tl_emu::seen(p, bytes, tl_emu::WRITE | tl_emu::LOOSE, TL_EMU_SITE);
}
void *__tsan_memcpy(void *d, const void *s, unsigned long bytes) {
  tl_emu::seen((void *)s, bytes, tl_emu::READ | tl_emu::LOOSE, TL_EMU_SITE);
  tl_emu::seen(d, bytes, tl_emu::WRITE | tl_emu::LOOSE, TL_EMU_SITE);
  return memcpy(d, s, bytes);
}
void *__tsan_memmove(void *d, const void *s, unsigned long bytes) {
  tl_emu::seen((void *)s, bytes, tl_emu::READ | tl_emu::LOOSE, TL_EMU_SITE);
  tl_emu::seen(d, bytes, tl_emu::WRITE | tl_emu::LOOSE, TL_EMU_SITE);
  return memmove(d, s, bytes);
}
void *__tsan_memset(void *d, int value, unsigned long bytes) {
  tl_emu::seen(d, bytes, tl_emu::WRITE | tl_emu::LOOSE, TL_EMU_SITE);
  return memset(d, value, bytes);
}
}

#endif
