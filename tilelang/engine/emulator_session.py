"""Generated CUDA text run on the CPU, checked while it runs.

In: the text and its launches, from a test, or through `engine.emulator` from an adapter. Out: the
results in the caller's memory, or an `EmulatorError` at the user's line. Each session copies the
buffers into memory of the emulator, with space around them that belongs to nobody, and back. The
machine itself is C++ in `device/emulator`. Lowers and prints nothing.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tilelang.engine.emulator_build import EmulatedLibrary, build_library
from tilelang.engine.emulator_fault import FaultRecord, MemoryName, fault_error
from tilelang.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class KernelCall:
    """One launch of a kernel.

    Attributes:
        name: of the kernel in the text.
        grid: blocks along x, y, z; missing ones are 1.
        block: threads along x, y, z.
        args: for a pointer the name of its buffer, for a number a NumPy scalar or ctypes value of
            the parameter's type.
        shared_bytes: dynamic shared memory of a block.
    """

    name: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    args: tuple[Any, ...]
    shared_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of the caller that a kernel sees.

    Attributes:
        name: for messages.
        address: of the first byte.
        nbytes: size.
        itemsize: bytes of an element.
        initialised: whether it holds values before the first launch.
    """

    name: str
    address: int
    nbytes: int
    itemsize: int
    initialised: bool = True


def emulate(
    source: str,
    calls: Sequence[KernelCall],
    buffers: Mapping[str, Any],
    *,
    uninitialised: Sequence[str] = (),
    seed: int = 0,
    checks: bool = True,
    source_files: Mapping[str, str] | None = None,
) -> None:
    """Run launches of `source`, one after the other, on the memory of `buffers`.

    Args:
        buffers: name -> contiguous NumPy array; written in place.
        uninitialised: buffers whose present values may not be read.
        seed: chooses the order of threads and when asynchronous copies land.
        checks: whether accesses are checked; without them blocks run in several OS threads.
        source_files: base name -> path of the user's files, to show the line at fault.

    Raises:
        EmulatorError: at the first fault. The buffers keep what they had.
        ToolchainError: when the text cannot be compiled.
    """
    files = dict(source_files or {})
    library = build_library(source, checks=checks, source_files=files)
    memories = [
        Memory(name, a.ctypes.data, a.nbytes, a.itemsize, name not in uninitialised)
        for name, a in buffers.items()
    ]
    with Session(library, memories, files, seed) as session:
        for call in calls:
            args = [
                ctypes.c_void_p(session.addresses[a]) if isinstance(a, str) else _number(a)
                for a in call.args
            ]
            session.launch(call.name, call.grid, call.block, call.shared_bytes, args)
        session.collect()


def _number(value: Any) -> Any:
    if isinstance(value, ctypes._SimpleCData):
        return value
    raw = getattr(value, "tobytes", None)
    if raw is None:
        raise ArgumentError(f"an argument of a kernel has a type of fixed size, not {value!r}")
    data = raw()
    return (ctypes.c_char * len(data)).from_buffer_copy(data)


class Session:
    """Memory in the emulator and launches on it; one at a time in each library.

    Attributes:
        addresses: name of a buffer -> its address for kernels.
    """

    def __init__(
        self,
        library: EmulatedLibrary,
        memories: Sequence[Memory],
        source_files: Mapping[str, str],
        seed: int,
    ) -> None:
        self.library = library
        self.addresses: dict[str, int] = {}
        self._native = _load(str(library.path))
        self._files = source_files
        self._seed = seed
        self._regions: list[list[MemoryName]] = []
        self._memories = memories
        meets = "tl_sync_grid" in library.source  # blocks that meet run in one OS thread
        self._workers = 1 if meets else os.cpu_count() or 1

    def __enter__(self) -> Session:
        _running.acquire()
        self._native.tl_emu_begin()
        try:
            for group in _overlapping(self._memories):
                self._add(group)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._native.tl_emu_end()
        _running.release()

    def add(self, memory: Memory) -> int:
        """More memory, of no one outside; its address for kernels."""
        base = self._native.tl_emu_add(None, memory.nbytes, int(memory.initialised))
        if not base:
            raise MemoryError(f"the emulator has no memory for {memory.nbytes} bytes")
        self._regions.append([MemoryName(memory.name, 0, memory.nbytes, memory.itemsize)])
        return base

    def kinds(self, kernel: str) -> str:
        """One letter per parameter of a kernel: `p` for a pointer, `v` for another value."""
        kinds_of = getattr(self._native, f"tl_emu_kinds_{kernel}")
        kinds_of.restype = ctypes.c_char_p
        return kinds_of().decode()

    def _add(self, group: Sequence[Memory]) -> None:
        start = min(m.address for m in group)
        size = max(m.address + m.nbytes for m in group) - start
        is_known = any(m.initialised for m in group)
        if self.library.checks:
            base = self._native.tl_emu_add(start, size, int(is_known))
            if not base:
                names = ", ".join(m.name for m in group)
                raise MemoryError(f"the emulator has no memory for {size} bytes of {names}")
        else:
            base = start
        parts = [MemoryName(m.name, m.address - start, m.nbytes, m.itemsize) for m in group]
        self._regions.append(parts)
        self.addresses.update((m.name, base + m.address - start) for m in group)

    def launch(
        self,
        kernel: str,
        grid: Sequence[int],
        block: Sequence[int],
        shared_bytes: int,
        args: Sequence[Any],
    ) -> None:
        """Run one kernel on ctypes values, to its end.

        Raises:
            EmulatorError: at the first fault.
        """
        extents = [*grid, *[1] * (3 - len(grid)), *block, *[1] * (3 - len(block))]
        if any(e <= 0 for e in extents[:3]):
            return  # an empty grid launches nothing
        dims = (ctypes.c_uint32 * 6)(*extents)
        pointers = (ctypes.c_void_p * max(len(args), 1))(*(ctypes.addressof(a) for a in args))
        entry = ctypes.cast(getattr(self._native, f"tl_emu_entry_{kernel}"), ctypes.c_void_p)
        self._seed += 1
        failed = self._native.tl_emu_launch(
            entry, dims, shared_bytes, pointers, self._seed & (1 << 64) - 1,
            int(self.library.checks), self._workers,
        )  # fmt: skip
        if failed:
            record = FaultRecord.from_address(self._native.tl_emu_last_fault())
            raise fault_error(record, self.library, self._regions, self._files)

    def collect(self) -> None:
        """Copy what kernels wrote back to the caller's memory."""
        self._native.tl_emu_collect()


# Each library has one set of regions.
_running = threading.RLock()


def _overlapping(memories: Sequence[Memory]) -> list[list[Memory]]:
    """Groups of memory that overlaps: kernels must see the same overlap."""
    groups: list[list[Memory]] = []
    end = -1
    for memory in sorted(memories, key=lambda m: m.address):
        if groups and memory.address < end:
            groups[-1].append(memory)
        else:
            groups.append([memory])
        end = max(end, memory.address + memory.nbytes)
    return groups


@functools.lru_cache(maxsize=256)
def _load(path: str) -> Any:
    native = ctypes.CDLL(path)
    native.tl_emu_add.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int]
    native.tl_emu_add.restype = ctypes.c_void_p
    native.tl_emu_last_fault.restype = ctypes.c_void_p
    native.tl_emu_launch.argtypes = [
        ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint64,
        ctypes.c_int, ctypes.c_int,
    ]  # fmt: skip
    for name in ("tl_emu_begin", "tl_emu_end", "tl_emu_collect"):
        getattr(native, name).restype = None
    return native
