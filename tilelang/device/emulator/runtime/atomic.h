/* Atomic operations, fences, and what they let blocks know of each other. One lock per operation:
 * blocks that are not checked run in several OS threads. */
#ifndef TL_EMU_ATOMIC_OPS_H
#define TL_EMU_ATOMIC_OPS_H

#include <type_traits>

#include "../formats.h"
#include "checks.h"
#include "schedule.h"

namespace tl_emu {

/* -- knowledge through memory ------------------------------------------------------------------- */

inline bool is_release(int order) { return order == __ATOMIC_RELEASE || order > __ATOMIC_RELEASE; }
inline bool is_acquire(int order) {
  return order == __ATOMIC_ACQUIRE || order == __ATOMIC_CONSUME || order > __ATOMIC_RELEASE;
}

/* What thread t's block did so far becomes known to whoever acquires from p. */
inline void release_at(Thread &t, u64 p) {
  Released &r = t.block->worker->released[p];
  for (const auto &[block, time] : t.block->others) {
    u32 &known = r.blocks[block];
    known = time > known ? time : known;
  }
  r.blocks[t.block->id] = now;
  if (r.block != t.block->id) r.upto.clear();
  r.block = t.block->id;
  r.upto.resize(t.block->threads.size(), launch_start);
  if (t.known)
    for (size_t u = 0; u < r.upto.size(); u++)
      if (t.known->upto[u] > r.upto[u]) r.upto[u] = t.known->upto[u];
  r.upto[t.index] = now;
  now++;
}

inline void learn(Thread &t, const Released &r) {
  for (const auto &[block, time] : r.blocks) {
    if (block == t.block->id) continue;
    u32 &known = t.block->others[block];
    known = time > known ? time : known;
  }
  if (r.block != t.block->id || r.upto.empty()) return;
  auto made = std::make_shared<Knowledge>();
  made->upto = r.upto;
  if (t.known)
    for (size_t u = 0; u < made->upto.size(); u++)
      if (t.known->upto[u] > made->upto[u]) made->upto[u] = t.known->upto[u];
  made->least = t.known ? t.known->least : launch_start;
  t.known = made;
}

/* Before and after the operation on p. A relaxed one counts as a release after a fence; what a
 * relaxed one read is acquired by the next fence. */
inline void before_atomic(Thread &t, const void *p, size_t bytes, int how, int order, void *site) {
  Worker &w = *t.block->worker;
  if (!w.launch->checks) return;
  access(t, p, bytes, how, site);
  if (how & WRITE && (is_release(order) || t.block->fenced)) release_at(t, (u64)p);
  auto found = w.released.find((u64)p);
  if (found == w.released.end()) return;
  if (is_acquire(order))
    learn(t, found->second);
  else
    for (const auto &[block, time] : found->second.blocks) {
      t.block->unfenced.push_back(block);
      t.block->unfenced.push_back(time);
    }
}

inline void fence() {
  Block &b = *self()->block;
  b.fenced = true;
  for (size_t i = 0; i < b.unfenced.size(); i += 2) {
    u32 &known = b.others[b.unfenced[i]];
    known = b.unfenced[i + 1] > known ? b.unfenced[i + 1] : known;
  }
  b.unfenced.clear();
}

inline std::mutex &lock_of(const void *p) {
  static std::mutex locks[64];
  return locks[(u64)p / 16 % 64];
}

/* Now and then others run first, so that seeds change who comes first. */
inline void shuffle_order() {
  Worker &w = *worker;
  w.polls++;
  if (next_random(w.random) % 4 == 0) yield();
}

/* -- formats: what is in memory, and the value it stands for ------------------------------------- */

template <class T>
struct Plain {
  using Word = T;
  using Value = T;
  static T get(T x) { return x; }
  static T put(T x) { return x; }
};
using int8 = Plain<signed char>;
using uint8 = Plain<unsigned char>;
using int16 = Plain<short>;
using uint16 = Plain<unsigned short>;
using int32 = Plain<int>;
using uint32 = Plain<unsigned>;
using int64 = Plain<long long>;
using uint64 = Plain<unsigned long long>;
using float32 = Plain<float>;
using float64 = Plain<double>;
struct float16 {
  using Word = unsigned short;
  using Value = float;
  static float get(Word x) { return tl_emu_decode_float16(x); }
  static Word put(float x) { return tl_emu_encode_float16(x); }
};
struct bfloat16 {
  using Word = unsigned short;
  using Value = float;
  static float get(Word x) { return tl_emu_decode_bfloat16(x); }
  static Word put(float x) { return tl_emu_encode_bfloat16(x); }
};

template <class T>
inline T wrapping_add(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    return (T)((std::make_unsigned_t<T>)a + (std::make_unsigned_t<T>)b);
  else
    return a + b;
}
struct op_add { template <class T> static T run(T a, T b) { return wrapping_add(a, b); } };
struct op_max { template <class T> static T run(T a, T b) { return a >= b || b != b ? a : b; } };
struct op_min { template <class T> static T run(T a, T b) { return a <= b || b != b ? a : b; } };
struct op_or { template <class T> static T run(T a, T b) { return (T)(a | b); } };
struct op_and { template <class T> static T run(T a, T b) { return (T)(a & b); } };
struct op_xor { template <class T> static T run(T a, T b) { return (T)(a ^ b); } };
struct op_exch { template <class T> static T run(T, T b) { return b; } };

template <class F, class O>
inline typename F::Value modify(void *p, typename F::Value x, int order, void *site) {
  using Word = typename F::Word;
  shuffle_order();
  const int over = std::is_same_v<O, op_exch> ? OVER : 0;
  before_atomic(*self(), p, sizeof(Word), WRITE | ATOMIC | over, order, site);
  std::lock_guard<std::mutex> guard(lock_of(p));
  const typename F::Value old = F::get(*(Word *)p);
  /* a 16-bit operand is rounded before the sum is */
  *(Word *)p = F::put(O::run(old, F::get(F::put(x))));
  return old;
}

template <class F>
inline typename F::Value swap_if(void *p, typename F::Value expected, typename F::Value x, int order,
                                 void *site) {
  using Word = typename F::Word;
  shuffle_order();
  before_atomic(*self(), p, sizeof(Word), WRITE | ATOMIC, order, site);
  std::lock_guard<std::mutex> guard(lock_of(p));
  const typename F::Value old = *(Word *)p;
  if (old == expected) *(Word *)p = x;
  return old;
}

template <class F>
inline typename F::Value load(const void *p, int order, void *site) {
  using Word = typename F::Word;
  poll();
  before_atomic(*self(), p, sizeof(Word), ATOMIC, order, site);
  std::lock_guard<std::mutex> guard(lock_of(p));
  return F::get(*(const Word *)p);
}

template <class F>
inline void store(void *p, typename F::Value x, int order, void *site) {
  using Word = typename F::Word;
  shuffle_order();
  before_atomic(*self(), p, sizeof(Word), WRITE | ATOMIC | OVER, order, site);
  std::lock_guard<std::mutex> guard(lock_of(p));
  *(Word *)p = F::put(x);
}

/* One half of a byte. The other half may have no value yet, so the byte is not read by the thread. */
inline void put_half(unsigned char *p, int shift, unsigned x, void *site) {
  shuffle_order();
  before_atomic(*self(), p, 1, WRITE | ATOMIC | OVER, __ATOMIC_RELAXED, site);
  std::lock_guard<std::mutex> guard(lock_of(p));
  *p = (unsigned char)((*p & (0xf0 >> shift)) | (x & 0xf) << shift);
}

/* Elements of a vector, one after the other. */
template <class F>
inline void add_pair(void *p, unsigned pair, void *site) {
  for (int i = 0; i < 2; i++)
    modify<F, op_add>((unsigned short *)p + i, F::get((unsigned short)(pair >> (16 * i))),
                   __ATOMIC_RELAXED, site);
}
#define TL_EMU_ADD_ONE(T)                                                \
  inline void add_##T(void *p, T::Value x, void *site) {                 \
    modify<T, op_add>(p, x, __ATOMIC_RELAXED, site);                     \
  }
TL_EMU_ADD_ONE(int32)
TL_EMU_ADD_ONE(uint32)
TL_EMU_ADD_ONE(uint64)
TL_EMU_ADD_ONE(float32)
TL_EMU_ADD_ONE(float64)
inline void add_float16x2(void *p, unsigned x, void *site) { add_pair<float16>(p, x, site); }
inline void add_bfloat16x2(void *p, unsigned x, void *site) { add_pair<bfloat16>(p, x, site); }
inline void add_floats(void *p, const float *x, int count, void *site) {
  if (self()->block->worker->launch->checks && (u64)p % (4 * (u64)count))
    access(*self(), p, 4 * (size_t)count, WRITE | ATOMIC, site);
  for (int i = 0; i < count; i++)
    modify<float32, op_add>((float *)p + i, x[i], __ATOMIC_RELAXED, site);
}

} // namespace tl_emu

#define TL_EMU_ATOMIC_LOAD(T, V)                                     \
  extern "C" V tl_atomic_load_##T(const void *p, int order) {        \
    return tl_emu::load<tl_emu::T>(p, order, TL_EMU_SITE);           \
  }
#define TL_EMU_ATOMIC_STORE(T, V)                                    \
  extern "C" void tl_atomic_store_##T(void *p, V x, int order) {     \
    tl_emu::store<tl_emu::T>(p, x, order, TL_EMU_SITE);              \
  }
#define TL_EMU_ATOMIC_OP(name, T, V)                                              \
  extern "C" V tl_atomic_##name##_##T(void *p, V x, int order) {                  \
    return tl_emu::modify<tl_emu::T, tl_emu::op_##name>(p, x, order, TL_EMU_SITE); \
  }
#define TL_EMU_ATOMIC_CAS(T, V)                                                   \
  extern "C" V tl_atomic_cas_##T(void *p, V expected, V x, int order) {           \
    return tl_emu::swap_if<tl_emu::T>(p, expected, x, order, TL_EMU_SITE);        \
  }
#define TL_EMU_RED(T, V) \
  extern "C" void tl_red_add_##T(void *p, V x) { tl_emu::add_##T(p, x, TL_EMU_SITE); }
#define TL_EMU_RED_VECTOR(T, count)                                               \
  extern "C" void tl_red_add_##T##x##count(void *p, const float *x) {             \
    tl_emu::add_floats(p, x, count, TL_EMU_SITE);                                 \
  }
#include "../atomic_forms.h"

extern "C" {
void tl_atomic_fence(int order) {
  if (order == __ATOMIC_SEQ_CST) tl_emu::fence();
}
void tl_atomic_put_b4(void *p, long long i, unsigned x) {
  tl_emu::put_half((unsigned char *)p + (i >> 1), (int)(i & 1) * 4, x, TL_EMU_SITE);
}
void tl_membar_cta() {}
void tl_membar_gl() { tl_emu::fence(); }
void tl_membar_sys() { tl_emu::fence(); }
void tl_fence_sc_gpu() { tl_emu::fence(); }

unsigned tl_ld_acquire_gpu(const unsigned *p) {
  return tl_emu::load<tl_emu::uint32>(p, __ATOMIC_ACQUIRE, TL_EMU_SITE);
}
void tl_st_release_gpu(unsigned *p, unsigned x) {
  tl_emu::store<tl_emu::uint32>(p, x, __ATOMIC_RELEASE, TL_EMU_SITE);
}
}

#endif
