"""runtime.c: every block runs once, arenas, threads, nesting, concurrent callers, fork."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

CompileC = Callable[..., ctypes.CDLL]

if sys.platform == "win32":
    pytest.skip("the pool is serial there", allow_module_level=True)

# mark(): counts each block. nest(): calls back into the pool from inside a block.
PROGRAM = """
#include "runtime.h"
#include <stdatomic.h>
#include <string.h>
#include <pthread.h>
#include <unistd.h>

struct marks {
  tl_parallel_for_fn parallel_for;
  _Atomic(int32_t) *count;
  int64_t inner, spin;
  size_t arena_bytes;
  _Atomic(int64_t) bad_arenas, failures, peak, active;
};

static void mark(void *args, int64_t begin, int64_t end, char *arena) {
  struct marks *m = args;
  int64_t now = atomic_fetch_add(&m->active, 1) + 1, peak = m->peak;
  while (now > peak && !atomic_compare_exchange_weak(&m->peak, &peak, now)) {}
  if (m->arena_bytes) {
    if ((uintptr_t)arena % 64) m->bad_arenas++;
    memset(arena, (int)begin, m->arena_bytes);
    for (volatile int64_t i = 0; i < m->spin; i++) {}
    for (size_t i = 0; i < m->arena_bytes; i += 61)
      if (arena[i] != (char)begin) m->bad_arenas++;
  }
  for (int64_t b = begin; b < end; b++) m->count[b]++;
  atomic_fetch_sub(&m->active, 1);
}

static void nest(void *args, int64_t begin, int64_t end, char *arena) {
  struct marks *m = args;
  for (int64_t b = begin; b < end; b++) {
    struct marks in = {m->parallel_for, m->count + b * m->inner, 0, 0, m->arena_bytes, 0, 0, 0, 0};
    memset(arena, 1, m->arena_bytes);
    if (m->parallel_for(mark, &in, m->inner, m->arena_bytes)) m->failures++;
    if (in.bad_arenas || arena[0] != 1 || arena[m->arena_bytes - 1] != 1) m->bad_arenas++;
  }
}

static struct marks make(tl_parallel_for_fn f, int32_t *count, int64_t spin, int64_t arena_bytes) {
  return (struct marks){f, (_Atomic(int32_t) *)count, 0, spin, (size_t)arena_bytes, 0, 0, 0, 0};
}

int run(tl_parallel_for_fn f, int32_t *count, int64_t n, int64_t spin, int64_t bytes,
        int64_t *peak) {
  struct marks m = make(f, count, spin, bytes);
  int status = f(mark, &m, n, (size_t)bytes);
  *peak = m.peak;
  return status * 2 + (m.bad_arenas != 0);
}

int run_nested(tl_parallel_for_fn f, int32_t *count, int64_t n, int64_t inner, int64_t bytes) {
  struct marks m = make(f, count, 0, bytes);
  m.inner = inner;
  return f(nest, &m, n, (size_t)bytes) || m.bad_arenas || m.failures;
}
"""


@pytest.fixture(scope="module")
def pool(headers: Path, compiler: str, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    path = tmp_path_factory.mktemp("pool") / "runtime.so"
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
    command = [compiler, *flags, "-fvisibility=hidden", str(headers / "runtime.c")]
    command += ["-o", str(path), "-lpthread"]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(path))


@pytest.fixture(scope="module")
def blocks(compile_c: CompileC) -> ctypes.CDLL:
    return compile_c(PROGRAM, "-pthread")


@pytest.fixture
def parallel_for(pool: ctypes.CDLL) -> Iterator[ctypes.c_void_p]:
    pool.tl_set_num_threads(4)
    yield ctypes.cast(pool.tl_parallel_for, ctypes.c_void_p)
    pool.tl_set_num_threads(0)


def run(
    blocks: ctypes.CDLL, parallel_for: ctypes.c_void_p, n: int, spin: int = 0, arena_bytes: int = 0
) -> tuple[int, int]:
    """(status, largest number of blocks running at once); asserts that each block ran once."""
    count, peak = np.zeros(max(n, 1), np.int32), ctypes.c_int64()
    status = blocks.run(
        parallel_for,
        ctypes.c_void_p(count.ctypes.data),
        *map(ctypes.c_int64, (n, spin, arena_bytes)),
        ctypes.byref(peak),
    )
    if status < 2:
        assert (count[:n] == 1).all()
    else:
        assert (count == 0).all()
    return status, peak.value


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 64, 1000, 100003])
def test_every_block_runs_once(
    pool: ctypes.CDLL, blocks: ctypes.CDLL, parallel_for: ctypes.c_void_p, threads: int, n: int
) -> None:
    pool.tl_set_num_threads(threads)
    for _ in range(20):
        status, peak = run(blocks, parallel_for, n)
        assert status == 0 and peak <= min(threads, n)


def test_several_threads_take_part(blocks: ctypes.CDLL, parallel_for: ctypes.c_void_p) -> None:
    peaks = [run(blocks, parallel_for, 64, 200_000, 64)[1] for _ in range(10)]
    assert max(peaks) > 1


def test_calls_after_the_workers_went_to_sleep(
    blocks: ctypes.CDLL, parallel_for: ctypes.c_void_p
) -> None:
    for _ in range(30):
        time.sleep(0.01)
        assert run(blocks, parallel_for, 16, 1000, 64)[0] == 0


@pytest.mark.parametrize("arena_bytes", [1, 4096, 100_001, 5 << 20])
def test_each_thread_has_its_own_arena(
    blocks: ctypes.CDLL, parallel_for: ctypes.c_void_p, arena_bytes: int
) -> None:
    assert run(blocks, parallel_for, 40, 2000, arena_bytes)[0] == 0
    assert run(blocks, parallel_for, 40, 2000, 64)[0] == 0


def test_out_of_memory_is_reported_before_any_block_runs(
    blocks: ctypes.CDLL, parallel_for: ctypes.c_void_p
) -> None:
    for size in (1 << 55, 2**63 - 1):
        assert run(blocks, parallel_for, 8, 0, size)[0] == 2
    assert run(blocks, parallel_for, 8, 0, 4096)[0] == 0


def test_nested_calls(blocks: ctypes.CDLL, parallel_for: ctypes.c_void_p) -> None:
    count = np.zeros(30 * 50, np.int32)
    address = ctypes.c_void_p(count.ctypes.data)
    sizes = map(ctypes.c_int64, (30, 50, 10_000))
    assert blocks.run_nested(parallel_for, address, *sizes) == 0
    assert (count == 1).all()


def test_concurrent_callers(blocks: ctypes.CDLL, parallel_for: ctypes.c_void_p) -> None:
    failures: list[int] = []

    def call() -> None:
        for n in range(1, 120):
            status, _ = run(blocks, parallel_for, n, 500, 1000 + n * 64)
            if status:
                failures.append(status)

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_number_of_threads(pool: ctypes.CDLL) -> None:
    pool.tl_set_num_threads(3)
    assert pool.tl_get_num_threads() == 3
    pool.tl_set_num_threads(0)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert pool.tl_get_num_threads() == usable


def test_child_of_a_fork_starts_its_own_workers(
    pool: ctypes.CDLL, blocks: ctypes.CDLL, tmp_path: Path
) -> None:
    program = tmp_path / "child.py"
    program.write_text(
        f"""
import ctypes, os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_c_runtime
pool, blocks = ctypes.CDLL({pool._name!r}), ctypes.CDLL({blocks._name!r})
pool.tl_set_num_threads(4)
f = ctypes.cast(pool.tl_parallel_for, ctypes.c_void_p)
test_c_runtime.run(blocks, f, 100, 1000, 64)
for _ in range(5):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        peaks = [test_c_runtime.run(blocks, f, 64, 200_000, 64)[1] for _ in range(10)]
        os._exit(0 if max(peaks) > 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
    test_c_runtime.run(blocks, f, 100, 1000, 64)
"""
    )
    command = [sys.executable, str(program)]
    result = subprocess.run(command, timeout=60, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
