"""Text that the library wrappers fill in.

The reference page fixes these texts, letter for letter; slots are those of `str.format`. Each is filled
in exactly one place, in `wrapper_cuda.py`, `wrapper_nvrtc.py` or `wrapper_launch.py`.
"""

# ruff: noqa: E501  (the texts keep their tabs and their long lines)

from __future__ import annotations

# {0} kernel, {1} bytes
PREDEF_ATTRIBUTE_SET_DYNAMIC_MEMORY = """
    cudaError_t result_{0} = cudaFuncSetAttribute({0}, cudaFuncAttributeMaxDynamicSharedMemorySize, {1});
    if (result_{0} != cudaSuccess) {{
        snprintf(error_buf, ERROR_BUF_SIZE, "Failed to set the allowed dynamic shared memory size to %d with error: %s", {1}, cudaGetErrorString(result_{0}));
        return -1;
    }}
"""

# the same slots; HIP has no limit to raise, so it only refuses too much. The last line would end `init`
# after the first kernel; the wrapper leaves it out
PREDEF_ATTRIBUTE_SET_DYNAMIC_MEMORY_HIP = """
    if ({1} > 65536) {{
        snprintf(error_buf, ERROR_BUF_SIZE, "Failed to set the allowed dynamic shared memory size for {0} to %d", {1});
        return -1;
    }}
    return 0;
"""

# {0} body of `init`
PREDEF_INIT_FUNC = """
#define ERROR_BUF_SIZE 1024
static char error_buf[ERROR_BUF_SIZE];

extern "C" const char* get_last_error() {{
    return error_buf;
}}

extern "C" int init() {{
    error_buf[0] = '\\0';
    {0}
    return 0;
}}
"""

# parameter list, body
PREDEF_HOST_FUNC = """
extern "C" int call({}) {{
{}
	return 0;
}}
"""

# list of kernel names, parameter list, body
PREDEF_HOST_FUNC_PY = """
import cuda.bindings.driver
import ctypes

_function_names = {}

def call({}):
    {}
"""

# once in `call`, in front of the first window
L2_PERSISTENT_MAP_CREATE_HANDLE = """
	cudaStreamAttrValue stream_attribute;
	size_t init_persisting_l2_cache_size;
	cudaDeviceGetLimit(&init_persisting_l2_cache_size, cudaLimitPersistingL2CacheSize);
"""

# {0} address, {1} hit ratio, {2} bytes
L2_PERSISTENT_MAP_INIT_FUNC = """
	stream_attribute.accessPolicyWindow.hitRatio = {1};
	stream_attribute.accessPolicyWindow.hitProp = cudaAccessPropertyPersisting;
	stream_attribute.accessPolicyWindow.missProp = cudaAccessPropertyStreaming;
	cudaDeviceSetLimit(cudaLimitPersistingL2CacheSize, {2});
	stream_attribute.accessPolicyWindow.base_ptr = (void*)({0});
	stream_attribute.accessPolicyWindow.num_bytes = {2};
	cudaStreamSetAttribute(stream, cudaStreamAttributeAccessPolicyWindow, &stream_attribute);
"""

# after a launch that had a window
L2_PERSISTENT_MAP_RESET_HANDLE = """
	stream_attribute.accessPolicyWindow.num_bytes = 0;
	cudaStreamSetAttribute(stream, cudaStreamAttributeAccessPolicyWindow, &stream_attribute);
	cudaCtxResetPersistingL2Cache();
	cudaDeviceSetLimit(cudaLimitPersistingL2CacheSize, init_persisting_l2_cache_size);
"""

# {0} descriptor, {1} dtype id, {2} rank, {3} address, {4} dims, {5} strides (bytes; the first is skipped),
# {6} box, {7} element strides, {8} interleave, {9} swizzle, {10} L2 promotion, {11} out-of-bounds fill
TMA_DESC_INIT_FUNC = """
	CUtensorMap {0};
	CUtensorMapDataType {0}_type= (CUtensorMapDataType){1};
	cuuint32_t {0}_tensorRank= {2};
	void *{0}_globalAddress= {3};
	cuuint64_t {0}_globalDim[{2}]= {{{4}}};
	cuuint64_t {0}_globalStride[{2}]= {{{5}}};
	cuuint32_t {0}_boxDim[{2}]= {{{6}}};
	cuuint32_t {0}_elementStrides[{2}]= {{{7}}};
	CUtensorMapInterleave {0}_interleave= (CUtensorMapInterleave){8};
	CUtensorMapSwizzle {0}_swizzle= (CUtensorMapSwizzle){9};
	CUtensorMapL2promotion {0}_l2Promotion= (CUtensorMapL2promotion){10};
	CUtensorMapFloatOOBfill {0}_oobFill= (CUtensorMapFloatOOBfill){11};

	CUresult {0}_result = CUTLASS_CUDA_DRIVER_WRAPPER_CALL(cuTensorMapEncodeTiled)(
    &{0}, {0}_type, {0}_tensorRank, {0}_globalAddress, {0}_globalDim, {0}_globalStride + 1, {0}_boxDim, {0}_elementStrides, {0}_interleave, {0}_swizzle, {0}_l2Promotion, {0}_oobFill);

	if ({0}_result != CUDA_SUCCESS) {{
		std::stringstream ss;
		ss << "Error: Failed to initialize the TMA descriptor {0}";
		snprintf(error_buf, ERROR_BUF_SIZE, "%s", ss.str().c_str());
		return -1;
	}}
"""

# {0}-{5} as above, {6} element strides, {7} lower corner, {8} upper corner, {9} channels per pixel,
# {10} pixels per column, {11} interleave, {12} swizzle, {13} L2 promotion, {14} out-of-bounds fill
TMA_IM2COL_DESC_INIT_FUNC = """
	CUtensorMap {0};
	CUtensorMapDataType {0}_type= (CUtensorMapDataType){1};
	cuuint32_t {0}_tensorRank= {2};
	void *{0}_globalAddress= {3};
	cuuint64_t {0}_globalDim[{2}]= {{{4}}};
	cuuint64_t {0}_globalStride[{2}]= {{{5}}};
	cuuint32_t {0}_elementStrides[{2}]= {{{6}}};
	int {0}_lowerCorner[{2} - 2]= {{{7}}};
	int {0}_upperCorner[{2} - 2]= {{{8}}};
	cuuint32_t {0}_channelsPerPixel= {9};
	cuuint32_t {0}_pixelsPerColumn= {10};
	CUtensorMapInterleave {0}_interleave= (CUtensorMapInterleave){11};
	CUtensorMapSwizzle {0}_swizzle= (CUtensorMapSwizzle){12};
	CUtensorMapL2promotion {0}_l2Promotion= (CUtensorMapL2promotion){13};
	CUtensorMapFloatOOBfill {0}_oobFill= (CUtensorMapFloatOOBfill){14};

	CUresult {0}_result = CUTLASS_CUDA_DRIVER_WRAPPER_CALL(cuTensorMapEncodeIm2col)(
    &{0}, {0}_type, {0}_tensorRank, {0}_globalAddress, {0}_globalDim, {0}_globalStride + 1,
    {0}_lowerCorner, {0}_upperCorner, {0}_channelsPerPixel, {0}_pixelsPerColumn, {0}_elementStrides, {0}_interleave, {0}_swizzle, {0}_l2Promotion, {0}_oobFill);

	if ({0}_result != CUDA_SUCCESS) {{
		std::stringstream ss;
		ss << "Error: Failed to initialize the TMA descriptor {0}";
		snprintf(error_buf, ERROR_BUF_SIZE, "%s", ss.str().c_str());
		return -1;
	}}
"""

# slots of TMA_DESC_INIT_FUNC
TMA_DESC_INIT_FUNC_PY = """
	{0}_type = cuda.bindings.driver.CUtensorMapDataType({1})
	{0}_tensorRank = {2}
	{0}_globalAddress = {3}.data_ptr()
	{0}_globalDim = [{4}]
	{0}_globalStride = [{5}][1:]
	{0}_boxDim = [{6}]
	{0}_elementStrides = [{7}]
	{0}_interleave = cuda.bindings.driver.CUtensorMapInterleave({8})
	{0}_swizzle = cuda.bindings.driver.CUtensorMapSwizzle({9})
	{0}_l2Promotion = cuda.bindings.driver.CUtensorMapL2promotion({10})
	{0}_oobFill = cuda.bindings.driver.CUtensorMapFloatOOBfill({11})

	res, {0} = cuda.bindings.driver.cuTensorMapEncodeTiled(
		{0}_type,
		{0}_tensorRank,
		{0}_globalAddress,
		{0}_globalDim,
		{0}_globalStride,
		{0}_boxDim,
		{0}_elementStrides,
		{0}_interleave,
		{0}_swizzle,
		{0}_l2Promotion,
		{0}_oobFill,
	)

	if res != cuda.bindings.driver.CUresult.CUDA_SUCCESS:
		raise RuntimeError(f"Failed to initialize the TMA descriptor {0}: {{res}}")
"""

# {0} kernel, {1}-{3} grid, {4}-{6} block, {7} shared bytes, {8} values, {9} ctypes, {10} device index
KERNEL_LAUNCH_FUNC_PY = """
	res = cuda.bindings.driver.cuKernelSetAttribute(
		cuda.bindings.driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
		{7},
		kernels["{0}"],
		cuda.bindings.driver.CUdevice({10})
	)[0]
	if res != cuda.bindings.driver.CUresult.CUDA_SUCCESS:
		raise RuntimeError(f"Failed to set max dynamic shared memory size to {7} for kernel {0}: {{res}}")

	config = cuda.bindings.driver.CUlaunchConfig()
	config.gridDimX = {1}
	config.gridDimY = {2}
	config.gridDimZ = {3}
	config.blockDimX = {4}
	config.blockDimY = {5}
	config.blockDimZ = {6}
	config.sharedMemBytes = {7}
	config.hStream = stream

	arg_values = {8}
	arg_types = {9}

	res = cuda.bindings.driver.cuLaunchKernelEx(config, kernels["{0}"], (arg_values, arg_types), 0)[0]
	if res != cuda.bindings.driver.CUresult.CUDA_SUCCESS:
		raise RuntimeError(f"Failed to launch kernel {0}: {{res}}")
"""
