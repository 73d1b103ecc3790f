/* Fixed-width integers and the names of the small floating-point formats, where there is no
 * <stdint.h>: NVRTC has none, and the emulator compiles the same text. C++. */
#ifndef TL_SCALAR_FIXED_WIDTH_H
#define TL_SCALAR_FIXED_WIDTH_H

using int8_t = signed char;
using int16_t = short;
using int32_t = int;
using int64_t = long long;
using uint8_t = unsigned char;
using uint16_t = unsigned short;
using uint32_t = unsigned int;
using uint64_t = unsigned long long;
using uintptr_t = unsigned long long;
using intptr_t = long long;

/* Short names that sources of the user's may take for granted. */
using uchar = unsigned char;
using ushort = unsigned short;
using uint = unsigned int;
using ulong = unsigned long;

#define INT8_MIN (-128)
#define INT8_MAX 127
#define INT16_MIN (-32768)
#define INT16_MAX 32767
#define INT32_MIN (-2147483647 - 1)
#define INT32_MAX 2147483647
#define INT64_MIN (-9223372036854775807LL - 1)
#define INT64_MAX 9223372036854775807LL
#define UINT8_MAX 255
#define UINT16_MAX 65535
#define UINT32_MAX 4294967295u
#define UINT64_MAX 18446744073709551615ULL

using tl_float16 = uint16_t;
using tl_bfloat16 = uint16_t;
using tl_float8_e3m4 = uint8_t;
using tl_float8_e4m3 = uint8_t;
using tl_float8_e4m3fn = uint8_t;
using tl_float8_e4m3fnuz = uint8_t;
using tl_float8_e4m3b11fnuz = uint8_t;
using tl_float8_e5m2 = uint8_t;
using tl_float8_e5m2fnuz = uint8_t;
using tl_float8_e8m0fnu = uint8_t;
using tl_float6_e2m3fn = uint8_t;
using tl_float6_e3m2fn = uint8_t;
using tl_float4_e2m1fn = uint8_t;

#endif
