/* Fibers: a stack each, and a switch between two of them that saves the registers a function must
 * keep. In: an entry function. Knows nothing of threads and blocks. */
#ifndef TL_EMU_FIBER_H
#define TL_EMU_FIBER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#if !defined(__x86_64__) && !defined(__aarch64__)
#include <ucontext.h>
#endif

namespace tl_emu {

constexpr size_t kStackBytes = 256 << 10; /* touched pages only cost memory */
constexpr size_t kGuardBytes = 16 << 10;

#if defined(__x86_64__) || defined(__aarch64__)
using Context = void *; /* the stack pointer below the saved registers */
extern "C" __attribute__((visibility("hidden"))) void tl_emu_switch(void **save, void *load);
#if defined(__x86_64__)
__asm__(
    ".text\n.globl tl_emu_switch\n.hidden tl_emu_switch\n.type tl_emu_switch,@function\n"
    "tl_emu_switch:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n  ret\n"
    ".size tl_emu_switch, .-tl_emu_switch\n");
constexpr int kSavedWords = 6;
#else
__asm__(
    ".text\n.globl tl_emu_switch\n.hidden tl_emu_switch\n.type tl_emu_switch,%function\n"
    "tl_emu_switch:\n"
    "  sub sp, sp, #160\n"
    "  stp x19, x20, [sp]\n  stp x21, x22, [sp, #16]\n  stp x23, x24, [sp, #32]\n"
    "  stp x25, x26, [sp, #48]\n  stp x27, x28, [sp, #64]\n  stp x29, x30, [sp, #80]\n"
    "  stp d8, d9, [sp, #96]\n  stp d10, d11, [sp, #112]\n  stp d12, d13, [sp, #128]\n"
    "  stp d14, d15, [sp, #144]\n"
    "  mov x9, sp\n  str x9, [x0]\n  mov sp, x1\n"
    "  ldp x19, x20, [sp]\n  ldp x21, x22, [sp, #16]\n  ldp x23, x24, [sp, #32]\n"
    "  ldp x25, x26, [sp, #48]\n  ldp x27, x28, [sp, #64]\n  ldp x29, x30, [sp, #80]\n"
    "  ldp d8, d9, [sp, #96]\n  ldp d10, d11, [sp, #112]\n  ldp d12, d13, [sp, #128]\n"
    "  ldp d14, d15, [sp, #144]\n"
    "  add sp, sp, #160\n  ret\n"
    ".size tl_emu_switch, .-tl_emu_switch\n");
#endif

/* A context that begins in `entry` when first switched to; `entry` must not return. */
inline Context new_context(char *stack, void (*entry)()) {
  void **top = (void **)(stack + kStackBytes);
#if defined(__x86_64__)
  *--top = nullptr; /* a return address: keeps the stack aligned as after a call */
  *--top = (void *)entry;
  for (int i = 0; i < kSavedWords; i++) *--top = nullptr;
#else
  for (int i = 0; i < 20; i++) *--top = nullptr;
  top[11] = (void *)entry; /* x30 */
#endif
  return (Context)top;
}

inline void switch_context(Context &save, Context &load) { tl_emu_switch(&save, load); }
#else
using Context = ucontext_t;
inline Context new_context(char *stack, void (*entry)()) {
  Context made;
  getcontext(&made);
  made.uc_stack.ss_sp = stack;
  made.uc_stack.ss_size = kStackBytes;
  made.uc_link = nullptr;
  makecontext(&made, entry, 0);
  return made;
}
inline void switch_context(Context &save, Context &load) { swapcontext(&save, &load); }
#endif

/* Memory that costs nothing until it is touched; null when there is none. */
inline char *reserve(size_t bytes, int protection = PROT_READ | PROT_WRITE) {
  void *p = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p == MAP_FAILED ? nullptr : (char *)p;
}

} // namespace tl_emu

#endif
