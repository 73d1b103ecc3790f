/* How the runtime calls a kernel: arguments come as pointers to values, as a driver takes them; and
 * what each parameter is. Included after the generated text. */
#ifndef TL_EMU_DRIVER_H
#define TL_EMU_DRIVER_H

#define TL_EMU_UNCHECKED __attribute__((no_sanitize("thread")))

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
  static constexpr char kind = 'v';
};
template <class T>
struct tl_emu_value<const T> : tl_emu_value<T> {};
template <class T>
struct tl_emu_value<T *> {
  using type = T *;
  static constexpr char kind = 'p';
};
template <class T>
struct tl_emu_value<T *const> : tl_emu_value<T *> {};

template <class... P, int... I>
TL_EMU_UNCHECKED static inline void tl_emu_apply(void (*kernel)(P...), void **args,
                                                 tl_emu_indices<I...>) {
  kernel(*(typename tl_emu_value<P>::type *)args[I]...);
}
template <class... P>
TL_EMU_UNCHECKED static inline void tl_emu_apply(void (*kernel)(P...), void **args) {
  tl_emu_apply(kernel, args, typename tl_emu_count<sizeof...(P)>::type());
}

/* One letter per parameter: 'p' for a pointer, 'v' for another value. */
template <class... P>
TL_EMU_UNCHECKED static inline const char *tl_emu_kinds_of(void (*)(P...)) {
  static const char kinds[] = {tl_emu_value<P>::kind..., 0};
  return kinds;
}

#define TL_EMU_ENTRY(name)                                                                      \
  extern "C" TL_EMU_UNCHECKED void tl_emu_entry_##name(void **args) {                           \
    tl_emu_apply(&name, args);                                                                  \
  }                                                                                             \
  extern "C" const char *tl_emu_kinds_##name(void) { return tl_emu_kinds_of(&name); }

#endif
