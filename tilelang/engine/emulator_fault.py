"""What the emulator's runtime found, as an error at the user's line.

In: the fault record of the runtime, the library, and what the memory is called. Out: an
`EmulatorError` that names the buffer, the element, both threads and their lines. Decides nothing.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tilelang.engine.emulator_build import TEXT_FILE, EmulatedLibrary
from tilelang.engine.nvrtc import source_place, source_span
from tilelang.errors import EmulatorError, Note, Span

_KINDS = {
    1: "out of bounds", 2: "uninitialised read", 3: "data race", 4: "missing wait",
    5: "misaligned access", 6: "wild access", 7: "not shared memory", 8: "stale read",
    9: "warp", 10: "barrier", 11: "deadlock", 12: "endless wait", 13: "trap", 14: "resources",
    15: "uninitialised read",
}  # fmt: skip
_SHARED, _LOCAL = -1, -3  # regions that are no arguments
_SHARED_BUFFER = re.compile(
    r"(?P<kind>\w+) \*const (?P<name>\w+) = \(\w+ \*\)\(?\w+(?: \+ (?P<offset>\d+)\))?;"
)
_SIZES = {
    "float": 4, "double": 8, "bool": 1, "tl_float16": 2, "tl_bfloat16": 2, "int16_t": 2,
    "uint16_t": 2, "int32_t": 4, "uint32_t": 4, "int64_t": 8, "uint64_t": 8, "int": 4,
}  # fmt: skip


class Party(ctypes.Structure):
    """A thread, and the place in the library where it was."""

    _fields_ = [
        ("block", ctypes.c_uint32 * 3),
        ("thread", ctypes.c_uint32 * 3),
        ("place", ctypes.c_uint64),
        ("known", ctypes.c_int),
        ("is_write", ctypes.c_int),
    ]


class FaultRecord(ctypes.Structure):
    """`tl_emu_fault` of `device/emulator/runtime/state.h`."""

    _fields_ = [
        ("kind", ctypes.c_int),
        ("region", ctypes.c_int),
        ("offset", ctypes.c_int64),
        ("bytes", ctypes.c_int32),
        ("at", Party),
        ("other", Party),
        ("text", ctypes.c_char * 400),
    ]


@dataclass(frozen=True, slots=True)
class MemoryName:
    """A part of a region, for messages.

    Attributes:
        name: of the buffer.
        offset: bytes from the region's start.
        nbytes: its size.
        itemsize: bytes of an element.
    """

    name: str
    offset: int
    nbytes: int
    itemsize: int


def shared_names(source: str) -> list[MemoryName]:
    """Buffers of the shared arena, as the text declares them; each ends where the next begins."""
    found = [
        (int(m["offset"] or 0), m["name"], _SIZES.get(m["kind"], 1))
        for m in _SHARED_BUFFER.finditer(source)
    ]
    starts = sorted({offset for offset, _, _ in found})
    ends = dict(zip(starts, [*starts[1:], 1 << 62]))
    return [MemoryName(name, o, ends[o] - o, size) for o, name, size in sorted(found)]


def fault_error(
    record: FaultRecord,
    library: EmulatedLibrary,
    regions: Sequence[Sequence[MemoryName]],
    source_files: Mapping[str, str],
) -> EmulatorError:
    """The error for a fault.

    Args:
        regions: names of the parts of each region, in the order they were added.
        source_files: base name -> path of the user's files.
    """
    places = [record.at.place, record.other.place]
    lines = text_lines(library.path, [p for p in places if p])
    at, other = (lines.get(p) if p else None for p in places)
    kind = _KINDS.get(record.kind, "fault")
    what = _what(record, library.source, regions)
    who = f": {_who(record.at)}" if record.at.known else ""
    message = f"{kind}: {what}{who}"
    span = _span(library.source, at, source_files)
    notes: list[Note] = []
    if record.other.known:
        note = _verb(record, record.other) + _who(record.other)
        other_span = _span(library.source, other, source_files)
        notes.append(Note(other_span, note))
        message += f"; {note}"
        message += "" if other_span else _line_text(library.source, other)
    message += "" if span else _line_text(library.source, at)
    error = EmulatorError(message, span, notes=notes)
    error.span = span  # not the caller's line where the fault has none
    return error


def _what(record: FaultRecord, source: str, regions: Sequence[Sequence[MemoryName]]) -> str:
    if record.text:
        return record.text.decode(errors="replace")
    verb = "write" if record.at.is_write else "read"
    if record.region == _LOCAL:
        return f"{verb} of a local variable that has no value yet"
    if record.region == _SHARED:
        names: Sequence[MemoryName] = shared_names(source)
        where = f"shared memory at byte {record.offset}"
    elif 0 <= record.region < len(regions):
        names, where = regions[record.region], f"byte {record.offset}"
    else:
        address = record.offset & (1 << 64) - 1
        return f"{verb} of {record.bytes} bytes at 0x{address:x}, no memory of the kernel"
    element = _element(record.offset, names)
    size = f" ({record.bytes} bytes)" if record.bytes > 0 else ""
    return f"{verb} of {element or where}{size}"


def _element(offset: int, names: Sequence[MemoryName]) -> str:
    """`A[17]`, or `A[17] or B[3]` where buffers share memory; empty when nothing is known."""
    inside = [n for n in names if n.offset <= offset < n.offset + n.nbytes]
    if not inside and names:
        inside = [
            min(
                names,
                key=lambda n: min(abs(offset - n.offset), abs(offset - n.offset - n.nbytes + 1)),
            )
        ]
    return " or ".join(f"`{n.name}[{(offset - n.offset) // n.itemsize}]`" for n in inside)


def _who(party: Party) -> str:
    thread, block = ", ".join(map(str, party.thread)), ", ".join(map(str, party.block))
    return f"thread ({thread}) of block ({block})"


def _verb(record: FaultRecord, party: Party) -> str:
    if record.text:
        return "here is "
    if record.kind == 4:
        return "copied asynchronously by "
    return "written by " if party.is_write else "read by "


def _span(
    source: str, line: tuple[str, int] | None, source_files: Mapping[str, str]
) -> Span | None:
    if line is None:
        return None
    if line[0] != TEXT_FILE:  # a line directive named the user's file
        return Span(line[0], line[1])
    return source_span(source_place(source, line[1]), source_files)


def _line_text(source: str, line: tuple[str, int] | None) -> str:
    """Where the user's file is not known: its name and line, and the line of the text."""
    if line is None:
        return ""
    origin = source_place(source, line[1])
    lead = f"{origin[0]}:{origin[1]}, " if origin else ""
    return f"\n  at {lead}{TEXT_FILE}:{line[1]}: {source.splitlines()[line[1] - 1].strip()}"


def text_lines(library: Path, places: Sequence[int]) -> dict[int, tuple[str, int]]:
    """File and line of each return address, by the debug information; without the binary tools of
    the compiler, nothing."""
    return {p: found for p in places if (found := _line_of(str(library), p)) is not None}


@functools.lru_cache(maxsize=256)
def _line_of(library: str, place: int) -> tuple[str, int] | None:
    tool = shutil.which("addr2line") or shutil.which("llvm-addr2line")
    if tool is None:
        return None
    command = [tool, "-i", "-e", library, hex(place - 1)]  # the call, not what follows it
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    for text in result.stdout.splitlines():  # the innermost function first
        file, _, line = text.partition(" ")[0].rpartition(":")
        name = os.path.basename(file)
        if line.isdigit() and (name == TEXT_FILE or name.endswith((".py", ".pyw"))):
            return (TEXT_FILE if name == TEXT_FILE else file), int(line)
    return None
