"""The kernels that bench/gpu.py times: plain tile programs, tile sizes chosen by the caller."""

import tilelang
import tilelang.language as T

LOG2_E = 1.44269504


@tilelang.jit(target="cuda")
def gemm(M, N, K, block_M, block_N, block_K, stages, threads, dtype, panel=0):
    @T.prim_func
    def kernel(A: T.Tensor((M, K), dtype), B: T.Tensor((K, N), dtype), C: T.Tensor((M, N), dtype)):
        grid = (T.ceildiv(N, block_N), T.ceildiv(M, block_M))
        with T.Kernel(*grid, threads=threads) as (bx, by):
            A_shared = T.alloc_shared((block_M, block_K), dtype)
            B_shared = T.alloc_shared((block_K, block_N), dtype)
            C_local = T.alloc_fragment((block_M, block_N), "float32")
            if panel:
                T.use_swizzle(panel)
            T.clear(C_local)
            for k in T.Pipelined(T.ceildiv(K, block_K), num_stages=stages):
                T.copy(A[by * block_M, k * block_K], A_shared)
                T.copy(B[k * block_K, bx * block_N], B_shared)
                T.gemm(A_shared, B_shared, C_local)
            T.copy(C_local, C[by * block_M, bx * block_N])

    return kernel


@tilelang.jit(target="cuda")
def attention(batch, heads, seq_len, dim, causal, block_M, block_N, stages, threads, dtype):
    scale = (1.0 / dim) ** 0.5 * LOG2_E
    shape = (batch, heads, seq_len, dim)

    @T.prim_func
    def kernel(
        Q: T.Tensor(shape, dtype),
        K: T.Tensor(shape, dtype),
        V: T.Tensor(shape, dtype),
        Out: T.Tensor(shape, dtype),
    ):
        with T.Kernel(T.ceildiv(seq_len, block_M), heads, batch, threads=threads) as (bx, by, bz):
            Q_shared = T.alloc_shared((block_M, dim), dtype)
            K_shared = T.alloc_shared((block_N, dim), dtype)
            V_shared = T.alloc_shared((block_N, dim), dtype)
            scores = T.alloc_fragment((block_M, block_N), "float32")
            weights = T.alloc_fragment((block_M, block_N), dtype)
            acc = T.alloc_fragment((block_M, dim), "float32")
            row_max = T.alloc_fragment((block_M,), "float32")
            row_max_old = T.alloc_fragment((block_M,), "float32")
            rescale = T.alloc_fragment((block_M,), "float32")
            row_sum = T.alloc_fragment((block_M,), "float32")
            total = T.alloc_fragment((block_M,), "float32")
            # causal: the longest rows first, so that the last blocks to start are short
            row = (T.ceildiv(seq_len, block_M) - 1 - bx) * block_M if causal else bx * block_M
            T.copy(Q[bz, by, row : row + block_M, :], Q_shared)
            T.clear(acc)
            T.clear(total)
            T.fill(row_max, -T.infinity("float32"))
            steps = T.ceildiv(row + block_M, block_N) if causal else T.ceildiv(seq_len, block_N)
            for k in T.Pipelined(steps, num_stages=stages):
                T.copy(K[bz, by, k * block_N : (k + 1) * block_N, :], K_shared)
                T.gemm(
                    Q_shared, K_shared, scores, transpose_B=True, clear_accum=True,
                    policy=T.GemmWarpPolicy.FullRow,
                )  # fmt: skip
                if causal and (k + 1) * block_N > row + 1:  # a tile on the diagonal
                    for i, j in T.Parallel(block_M, block_N):
                        visible = k * block_N + j <= row + i
                        scores[i, j] = T.if_then_else(visible, scores[i, j], -T.infinity("float32"))
                T.copy(row_max, row_max_old)
                T.reduce_max(scores, row_max, dim=1, clear=False)
                for i in T.Parallel(block_M):
                    rescale[i] = T.exp2(row_max_old[i] * scale - row_max[i] * scale)
                for i, j in T.Parallel(block_M, block_N):
                    scores[i, j] = T.exp2(scores[i, j] * scale - row_max[i] * scale)
                T.reduce_sum(scores, row_sum, dim=1)
                for i in T.Parallel(block_M):
                    total[i] = total[i] * rescale[i] + row_sum[i]
                T.copy(scores, weights)
                for i, j in T.Parallel(block_M, dim):
                    acc[i, j] *= rescale[i]
                T.copy(V[bz, by, k * block_N : (k + 1) * block_N, :], V_shared)
                T.gemm(weights, V_shared, acc, policy=T.GemmWarpPolicy.FullRow)
            for i, j in T.Parallel(block_M, dim):
                acc[i, j] /= total[i]
            T.copy(acc, Out[bz, by, row : row + block_M, :])

    return kernel


@tilelang.jit(target="cuda")
def add(M, N, block_M, block_N, threads, dtype):
    @T.prim_func
    def kernel(
        X: T.Tensor((M, N), dtype), Y: T.Tensor((M, N), dtype), Out: T.Tensor((M, N), dtype)
    ):
        with T.Kernel(T.ceildiv(N, block_N), T.ceildiv(M, block_M), threads=threads) as (bx, by):
            for i, j in T.Parallel(block_M, block_N):
                row, column = by * block_M + i, bx * block_N + j
                Out[row, column] = X[row, column] + Y[row, column]

    return kernel


@tilelang.jit(target="cuda")
def softmax(M, N, block_M, threads, dtype):
    @T.prim_func
    def kernel(X: T.Tensor((M, N), dtype), Y: T.Tensor((M, N), dtype)):
        with T.Kernel(T.ceildiv(M, block_M), threads=threads) as bx:
            x = T.alloc_fragment((block_M, N), "float32")
            row_max = T.alloc_fragment((block_M,), "float32")
            row_sum = T.alloc_fragment((block_M,), "float32")
            T.copy(X[bx * block_M, 0], x)
            T.reduce_max(x, row_max, dim=1)
            for i, j in T.Parallel(block_M, N):
                x[i, j] = T.exp2(x[i, j] * LOG2_E - row_max[i] * LOG2_E)
            T.reduce_sum(x, row_sum, dim=1)
            for i, j in T.Parallel(block_M, N):
                Y[bx * block_M + i, j] = x[i, j] / row_sum[i]

    return kernel


@tilelang.jit(target="cuda")
def rms_norm(M, N, block_M, threads, dtype, epsilon=1e-6):
    @T.prim_func
    def kernel(X: T.Tensor((M, N), dtype), W: T.Tensor((N,), dtype), Y: T.Tensor((M, N), dtype)):
        with T.Kernel(T.ceildiv(M, block_M), threads=threads) as bx:
            x = T.alloc_fragment((block_M, N), "float32")
            square = T.alloc_fragment((block_M, N), "float32")
            total = T.alloc_fragment((block_M,), "float32")
            T.copy(X[bx * block_M, 0], x)
            for i, j in T.Parallel(block_M, N):
                square[i, j] = x[i, j] * x[i, j]
            T.reduce_sum(square, total, dim=1)
            for i in T.Parallel(block_M):
                total[i] = T.rsqrt(total[i] / N + epsilon)
            for i, j in T.Parallel(block_M, N):
                Y[bx * block_M + i, j] = x[i, j] * total[i] * W[j]

    return kernel


@tilelang.jit(target="cuda")
def layer_norm(M, N, block_M, threads, dtype, epsilon=1e-5):
    @T.prim_func
    def kernel(
        X: T.Tensor((M, N), dtype),
        W: T.Tensor((N,), dtype),
        B: T.Tensor((N,), dtype),
        Y: T.Tensor((M, N), dtype),
    ):
        with T.Kernel(T.ceildiv(M, block_M), threads=threads) as bx:
            x = T.alloc_fragment((block_M, N), "float32")
            square = T.alloc_fragment((block_M, N), "float32")
            mean = T.alloc_fragment((block_M,), "float32")
            variance = T.alloc_fragment((block_M,), "float32")
            T.copy(X[bx * block_M, 0], x)
            T.reduce_sum(x, mean, dim=1)
            for i in T.Parallel(block_M):
                mean[i] = mean[i] / N
            for i, j in T.Parallel(block_M, N):
                square[i, j] = (x[i, j] - mean[i]) * (x[i, j] - mean[i])
            T.reduce_sum(square, variance, dim=1)
            for i in T.Parallel(block_M):
                variance[i] = T.rsqrt(variance[i] / N + epsilon)
            for i, j in T.Parallel(block_M, N):
                Y[bx * block_M + i, j] = (x[i, j] - mean[i]) * variance[i] * W[j] + B[j]

    return kernel


@tilelang.jit(target="cuda")
def row_sum(M, N, block_M, block_N, threads, dtype):
    """Sums along the contiguous axis."""

    @T.prim_func
    def kernel(X: T.Tensor((M, N), dtype), Y: T.Tensor((M,), "float32")):
        with T.Kernel(T.ceildiv(M, block_M), threads=threads) as bx:
            x = T.alloc_fragment((block_M, block_N), "float32")
            acc = T.alloc_fragment((block_M, block_N), "float32")
            total = T.alloc_fragment((block_M,), "float32")
            T.clear(acc)
            for k in T.serial(T.ceildiv(N, block_N)):
                T.copy(X[bx * block_M, k * block_N], x)
                for i, j in T.Parallel(block_M, block_N):
                    acc[i, j] += x[i, j]
            T.reduce_sum(acc, total, dim=1)
            T.copy(total, Y[bx * block_M])

    return kernel


@tilelang.jit(target="cuda")
def column_sum(M, N, block_M, block_N, threads, dtype):
    """Sums along the strided axis, by blocks of rows that meet in atomic additions."""
    rows = 32  # tiles of one block

    @T.prim_func
    def kernel(X: T.Tensor((M, N), dtype), Y: T.Tensor((N,), "float32")):
        grid = (T.ceildiv(N, block_N), T.ceildiv(M, block_M * rows))
        with T.Kernel(*grid, threads=threads) as (bx, by):
            x = T.alloc_fragment((block_M, block_N), "float32")
            acc = T.alloc_fragment((block_M, block_N), "float32")
            total = T.alloc_fragment((block_N,), "float32")
            T.clear(acc)
            for k in T.serial(rows):
                T.copy(X[(by * rows + k) * block_M, bx * block_N], x)
                for i, j in T.Parallel(block_M, block_N):
                    acc[i, j] += x[i, j]
            T.reduce_sum(acc, total, dim=0)
            T.atomic_add(Y[bx * block_N], total)

    return kernel


@tilelang.jit(target="cuda")
def gemv_w4a16(N, K, rows, warps, splits, dtype):
    """`y = W x`, W of N by K unsigned 4-bit numbers (eight to a word), zero point 8, no scales.

    A warp computes `rows` rows over every `splits`-th part of K, each lane 32 weights of a row at a
    time. Four bits at place b of a word, read as a float, are the subnormal `q * 2**(b - 149)`:
    with x scaled by `2**(110 - b)` a weight costs a mask and a multiply-add, and the sum is
    `2**-39` of what is wanted.
    """
    steps = K // (1024 * splits)  # a warp's lanes take 32 weights each
    # weight p of a word: in the word itself (0) or in the word shifted right by 12 (1); its bit
    places = ((0, 0), (0, 4), (0, 8), (0, 12), (0, 16), (1, 8), (1, 12), (1, 16))
    groups = warps // splits

    @T.prim_func
    def kernel(
        W: T.Tensor((N, K // 8), "uint32"), X: T.Tensor((K,), dtype), Y: T.Tensor((N,), dtype)
    ):
        with T.Kernel(T.ceildiv(N, rows * groups), threads=(32, warps)) as bx:
            lane = T.get_thread_binding(0)
            warp = T.get_thread_binding(1)
            first = (bx * groups + warp % groups) * rows
            words = T.alloc_local((2, rows, 4), "uint32")
            x = T.alloc_local((32,), dtype)
            scaled = T.alloc_local((32,), "float32")
            acc = T.alloc_local((rows,), "float32")
            x_sum = T.alloc_local((1,), "float32")
            parts = T.alloc_shared((splits, groups, rows), "float32")
            T.clear(acc)
            T.clear(x_sum)
            for step in T.serial(steps):
                k = step * splits + warp // groups
                for r in T.unroll(rows):
                    for v in T.vectorized(4):
                        words[0, r, v] = W[first + r, (k * 32 + lane) * 4 + v]
                for v in T.vectorized(32):
                    x[v] = X[(k * 32 + lane) * 32 + v]
                for r in T.unroll(rows):
                    for w in T.unroll(4):
                        words[1, r, w] = words[0, r, w] >> 12
                for w in T.unroll(4):
                    for p, (shifted, bit) in enumerate(places):
                        x_sum[0] += x[w * 8 + p]
                        scaled[w * 8 + p] = T.cast(x[w * 8 + p], "float32") * 2.0 ** (110 - bit)
                        for r in T.unroll(rows):
                            weight = T.reinterpret(words[shifted, r, w] & (15 << bit), "float32")
                            acc[r] += weight * scaled[w * 8 + p]
            offset = T.warp_reduce_sum(x_sum[0]) * 8
            for r in T.unroll(rows):
                total = T.warp_reduce_sum(acc[r])
                if lane == 0:
                    parts[warp // groups, warp % groups, r] = total * 2.0**39 - offset
            T.sync_threads()
            if warp < groups and lane < rows:
                y = T.alloc_var("float32", init=0.0)
                for part in T.unroll(splits):
                    y += parts[part, warp, lane]
                Y[first + lane] = y

    return kernel
