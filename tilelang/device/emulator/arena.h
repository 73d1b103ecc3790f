/* Shared memory of an OS thread, under the name by which the text declares it. Compiled beside the
 * text with TL_EMU_ARENA the name, and TL_EMU_STATIC_SHARED 1 where the text has more. */
#include <stdint.h>

alignas(1024) thread_local unsigned char tl_emu_arena_memory[232448] __asm__(TL_EMU_ARENA);

extern "C" {
extern const uint64_t tl_emu_arena_bytes;
extern const int tl_emu_static_shared;
const uint64_t tl_emu_arena_bytes = sizeof(tl_emu_arena_memory);
const int tl_emu_static_shared = TL_EMU_STATIC_SHARED;
char *tl_emu_arena() { return (char *)tl_emu_arena_memory; }
}
