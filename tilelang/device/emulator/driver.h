/* How the runtime calls a kernel: arguments come as pointers to values, as a driver takes them.
 * Included after the generated text. */
#ifndef TL_EMU_DRIVER_H
#define TL_EMU_DRIVER_H

template <int... I>
struct tl_emu_indices {};
template <int N, int... I>
struct tl_emu_count : tl_emu_count<N - 1, N - 1, I...> {};
template <int... I>
struct tl_emu_count<0, I...> {
  using type = tl_emu_indices<I...>;
};

template <class T>
struct tl_emu_value {
  using type = T;
};
template <class T>
struct tl_emu_value<const T> {
  using type = T;
};

template <class... P, int... I>
__attribute__((no_sanitize("thread"))) static inline void tl_emu_apply(
    void (*kernel)(P...), void **args, tl_emu_indices<I...>) {
  kernel(*(typename tl_emu_value<P>::type *)args[I]...);
}
template <class... P>
__attribute__((no_sanitize("thread"))) static inline void tl_emu_apply(void (*kernel)(P...),
                                                                       void **args) {
  tl_emu_apply(kernel, args, typename tl_emu_count<sizeof...(P)>::type());
}

#define TL_EMU_ENTRY(name)                                                             \
  extern "C" __attribute__((no_sanitize("thread"))) void tl_emu_entry_##name(void **args) { \
    tl_emu_apply(&name, args);                                                         \
  }

#endif
