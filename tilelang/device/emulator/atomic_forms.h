/* Forms of the atomic operations: format T of the element, C type V of the value. Included where the
 * TL_EMU_ATOMIC_ names say what to make of a line. */
#define TL_EMU_ATOMIC_ANY(T, V) \
  TL_EMU_ATOMIC_LOAD(T, V)      \
  TL_EMU_ATOMIC_STORE(T, V)     \
  TL_EMU_ATOMIC_OP(add, T, V)   \
  TL_EMU_ATOMIC_OP(max, T, V)   \
  TL_EMU_ATOMIC_OP(min, T, V)
#define TL_EMU_ATOMIC_INTEGER(T, V) \
  TL_EMU_ATOMIC_ANY(T, V)           \
  TL_EMU_ATOMIC_OP(or, T, V)        \
  TL_EMU_ATOMIC_OP(and, T, V)       \
  TL_EMU_ATOMIC_OP(xor, T, V)
#define TL_EMU_ATOMIC_WORD(T, V) \
  TL_EMU_ATOMIC_INTEGER(T, V)    \
  TL_EMU_ATOMIC_OP(exch, T, V)   \
  TL_EMU_ATOMIC_CAS(T, V)
TL_EMU_ATOMIC_INTEGER(int8, signed char)
TL_EMU_ATOMIC_INTEGER(uint8, unsigned char)
TL_EMU_ATOMIC_INTEGER(int16, short)
TL_EMU_ATOMIC_INTEGER(uint16, unsigned short)
TL_EMU_ATOMIC_WORD(int32, int)
TL_EMU_ATOMIC_WORD(uint32, unsigned int)
TL_EMU_ATOMIC_WORD(int64, long long)
TL_EMU_ATOMIC_WORD(uint64, unsigned long long)
TL_EMU_ATOMIC_ANY(float32, float)
TL_EMU_ATOMIC_ANY(float64, double)
TL_EMU_ATOMIC_ANY(float16, float)
TL_EMU_ATOMIC_ANY(bfloat16, float)
TL_EMU_ATOMIC_CAS(uint8, unsigned char)
TL_EMU_ATOMIC_CAS(uint16, unsigned short)
TL_EMU_RED(int32, int)
TL_EMU_RED(uint32, unsigned int)
TL_EMU_RED(uint64, unsigned long long)
TL_EMU_RED(float32, float)
TL_EMU_RED(float64, double)
TL_EMU_RED(float16x2, unsigned int)
TL_EMU_RED(bfloat16x2, unsigned int)
TL_EMU_RED_VECTOR(float32, 2)
TL_EMU_RED_VECTOR(float32, 4)
#undef TL_EMU_ATOMIC_ANY
#undef TL_EMU_ATOMIC_INTEGER
#undef TL_EMU_ATOMIC_WORD
