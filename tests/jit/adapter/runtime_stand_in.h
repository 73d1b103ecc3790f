/* Run-time API of CUDA and HIP (@rt@ is its prefix) for tests of host code: calls are logged. */
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <string>
static std::string calls;
static int fail_next = 0;
#define LOG(...) do { std::ostringstream o; o << __VA_ARGS__; calls += o.str() + "\n"; } while (0)
typedef int @rt@Error_t; typedef void* @rt@Stream_t;
#define @rt@Success 0
#define @rt@StreamDefault nullptr
static const char* @rt@GetErrorString(int e) { return e == 9 ? "nine" : "other"; }
static int @rt@GetLastError() { int e = fail_next; fail_next = 0; return e; }
struct dim3 { long x, y, z; dim3(long a, long b, long c) : x(a), y(b), z(c) {} };
static std::ostream& operator<<(std::ostream& o, dim3 d) { return o << d.x << "," << d.y << "," << d.z; }
static void launch(const char* name, dim3 g, dim3 b, int smem, void*) {
  LOG(name << " " << g << " " << b << " " << smem);
}
struct cudaStreamAttrValue { struct { double hitRatio; int hitProp, missProp; void* base_ptr; size_t num_bytes; } accessPolicyWindow; };
enum { cudaFuncAttributeMaxDynamicSharedMemorySize, cudaLimitPersistingL2CacheSize,
       cudaAccessPropertyPersisting, cudaAccessPropertyStreaming,
       cudaStreamAttributeAccessPolicyWindow, cudaDevAttrMaxPersistingL2CacheSize };
template <class F> static int cudaFuncSetAttribute(F*, int, int bytes) { LOG("attribute " << bytes); return bytes > 200000 ? 9 : 0; }
static void cudaDeviceGetLimit(size_t* n, int) { *n = 77; }
static void cudaDeviceSetLimit(int, size_t n) { LOG("limit " << n); }
static void cudaStreamSetAttribute(void*, int, cudaStreamAttrValue* v) {
  LOG("window " << v->accessPolicyWindow.num_bytes << " " << v->accessPolicyWindow.hitRatio);
}
static void cudaCtxResetPersistingL2Cache() { LOG("reset"); }
static void cudaGetDevice(int* d) { *d = 0; }
static void cudaDeviceGetAttribute(int* v, int, int) { *v = 32; }
static int cudaMallocAsync(void** p, size_t n, void*) { LOG("malloc " << n); *p = nullptr; return 0; }
static int cudaFreeAsync(void*, void*) { LOG("free"); return 0; }
static int @rt@LaunchCooperativeKernel(void*, dim3 g, dim3 b, void** args, int smem, void*) {
  LOG("cooperative " << g << " " << b << " " << smem << " " << *(int*)args[1]); return 0;
}
typedef int CUtensorMapDataType, CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill, CUresult;
typedef uint64_t cuuint64_t; typedef uint32_t cuuint32_t;
struct CUtensorMap { int id; };
enum { CUDA_SUCCESS = 0 };
static int cuTensorMapEncodeTiled(CUtensorMap* m, int type, int rank, void* p, cuuint64_t* dims, cuuint64_t* strides,
                                  cuuint32_t* box, cuuint32_t* elements, int a, int b, int c, int d) {
  m->id = 42;
  LOG("tiled " << type << " " << rank << " " << dims[rank - 1] << " " << strides[0] << " " << box[0] << " "
      << elements[0] << " " << a << b << c << d);
  return p == nullptr;
}
static int cuTensorMapEncodeIm2col(CUtensorMap*, int type, int rank, void*, cuuint64_t* dims, cuuint64_t*, int* lower,
                                   int* upper, int channels, int pixels, cuuint32_t*, int, int, int, int) {
  LOG("im2col " << type << " " << rank << " " << dims[0] << " " << lower[0] << upper[1] << " " << channels << " " << pixels);
  return 0;
}
extern "C" __attribute__((used)) const char* log_text() { return calls.c_str(); }
extern "C" __attribute__((used)) void log_clear() { calls.clear(); }
extern "C" __attribute__((used)) void fail_with(int e) { fail_next = e; }
