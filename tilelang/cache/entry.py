"""One compiled kernel on disk: what is in its folder, and whether that is what was written.

In: a folder, from `cache.store`. Out: `Entry`, whose every byte has been compared with the
manifest, or `Listing`, a look from outside. It removes nothing and decides nothing.

    device_kernel.c host_kernel.c executable.so   what the caller saved
    params.pkl                                    the kernel's parameters
    key.json                                      the parts of the key
    manifest.json                                 size and SHA-256 of all of them, written last
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import pickle
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tilelang.cache import trust
from tilelang.cache.key import CacheKey
from tilelang.errors import ArgumentError

MANIFEST = "manifest.json"
KEY_FILE = "key.json"
PARAMS = "params.pkl"
EXECUTABLE = "executable.so"
DEVICE_SOURCE = "device_kernel.c"
HOST_SOURCE = "host_kernel.c"

_FORMAT = 1  # raise when the manifest's meaning changes
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")
_RESERVED = (MANIFEST, KEY_FILE, PARAMS)


class DamagedEntryError(Exception):
    """A folder that is not the entry it should be."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A compiled kernel on disk, verified when it was read.

    Attributes:
        key: the hash it is kept under.
        path: its folder.
        params: the kernel's `KernelParam`s in call order.
        sources: file name -> text of the readable sources (`device_kernel.*`, `host_kernel.*`).
        files: names of all files the caller saved.
    """

    key: str
    path: Path
    params: list[Any]
    sources: dict[str, str]
    files: tuple[str, ...]

    def file(self, name: str) -> Path:
        """Path of one file. It may vanish once another process clears the cache.

        Raises:
            FileNotFoundError: when the entry was saved without such a file.
        """
        if name not in self.files:
            raise FileNotFoundError(errno.ENOENT, f"cache entry without {name}", str(self.path))
        return self.path / name

    @property
    def executable(self) -> Path:
        """The shared object."""
        return self.file(EXECUTABLE)

    @property
    def device_source(self) -> str | None:
        """Text of the kernel."""
        return self._source("device_kernel")

    @property
    def host_source(self) -> str | None:
        """Text of the launch code."""
        return self._source("host_kernel")

    def _source(self, stem: str) -> str | None:
        return next((text for name, text in self.sources.items() if Path(name).stem == stem), None)


@dataclass(frozen=True, slots=True)
class Listing:
    """What an entry's folder looks like from outside: nothing is hashed or unpickled.

    Attributes:
        key: name of the folder.
        path: the folder.
        size: bytes in it.
        created, used: seconds since the epoch; 0 when unknown.
        complete: its files are there and have the sizes of its manifest.
    """

    key: str
    path: Path
    size: int
    created: float
    used: float
    complete: bool

    def parts(self) -> dict[str, str]:
        """The parts of its key; empty when they cannot be read."""
        try:
            found = json.loads((self.path / KEY_FILE).read_text(encoding="utf-8"))
            return {str(name): str(text) for name, text in found}
        except (OSError, ValueError, TypeError):
            return {}


@dataclass(frozen=True, slots=True)
class _Manifest:
    files: dict[str, tuple[int, str]]  # name -> bytes, SHA-256
    created: float


def entry_contents(
    key: CacheKey, files: Mapping[str, bytes | Path], params: list[Any]
) -> dict[str, bytes]:
    """Every file of an entry but its manifest.

    Raises:
        ArgumentError: for a file name that is not plain or that the store uses itself.
        OSError: when a given path cannot be read.
    """
    import cloudpickle  # deferred: only a compilation pays for it

    for name in files:
        if name in _RESERVED or not _FILE_NAME.fullmatch(name):
            raise ArgumentError(f"{name!r} cannot be the name of a cached file")
    contents = {n: c.read_bytes() if isinstance(c, Path) else bytes(c) for n, c in files.items()}
    contents[PARAMS] = cloudpickle.dumps(params)
    contents[KEY_FILE] = json.dumps(key.parts, indent=1).encode()
    return contents


def write_entry(folder: Path, digest: str, contents: Mapping[str, bytes]) -> None:
    """Write the files of an entry into the empty `folder`, the manifest last.

    Raises:
        OSError: when that fails.
    """
    for name, content in contents.items():
        _write_file(folder / name, content)
    files = {n: [len(c), hashlib.sha256(c).hexdigest()] for n, c in contents.items()}
    made = {"format": _FORMAT, "key": digest, "created": time.time(), "files": files}
    _write_file(folder / MANIFEST, json.dumps(made, indent=1).encode())


def _write_file(path: Path, content: bytes) -> None:
    # Executable for the sake of systems that ask it of a library; readable by this user alone.
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700), "wb") as out:
        out.write(content)


def make_entry(folder: Path, contents: Mapping[str, bytes], params: list[Any]) -> Entry:
    """The entry that `contents` make up."""
    sources = {
        name: content.decode(errors="replace")
        for name, content in contents.items()
        if name.startswith(("device_kernel.", "host_kernel."))
    }
    files = tuple(name for name in contents if name not in _RESERVED)
    return Entry(folder.name, folder, params, sources, files)


def read_entry(folder: Path) -> Entry:
    """Read an entry and compare it with its manifest.

    Raises:
        DamagedEntryError: when they differ, or the parameters cannot be unpickled.
        OSError: when a file may not be read.
    """
    manifest = _read_manifest(folder)
    contents = {
        name: _read_file(folder / name, size, sha) for name, (size, sha) in manifest.files.items()
    }
    try:
        params = pickle.loads(contents[PARAMS])
    except Exception as error:  # a pickle may raise anything, as when a class has changed since
        raise DamagedEntryError(f"{PARAMS} cannot be read: {error}") from error
    with contextlib.suppress(OSError):  # the time of the last use; a read-only cache keeps none
        os.utime(folder / MANIFEST)
    return make_entry(folder, contents, params)


def _read_file(path: Path, size: int, sha: str) -> bytes:
    try:
        reason = trust.distrust([path])
        content = path.read_bytes()
    except FileNotFoundError:
        raise DamagedEntryError(f"{path.name} is missing") from None
    if reason is not None:
        raise DamagedEntryError(reason)
    if len(content) != size or hashlib.sha256(content).hexdigest() != sha:
        raise DamagedEntryError(f"{path.name} does not match its hash")
    return content


def _read_manifest(folder: Path) -> _Manifest:
    try:
        found = json.loads((folder / MANIFEST).read_bytes())
        named_so = found["format"] == _FORMAT and found["key"] == folder.name
        files = {str(n): (int(size), str(sha)) for n, (size, sha) in found["files"].items()}
        manifest = _Manifest(files, float(found["created"]))
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedEntryError("it has no manifest") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DamagedEntryError("its manifest cannot be read") from None
    if not named_so:
        raise DamagedEntryError("its manifest is of another entry")
    if not files.keys() >= {PARAMS, KEY_FILE} or not all(map(_FILE_NAME.fullmatch, files)):
        raise DamagedEntryError("its manifest is incomplete")
    return manifest


def list_entry(folder: Path) -> Listing:
    """Look at an entry's folder from outside."""
    sizes: dict[str, int] = {}
    try:
        for item in os.scandir(folder):
            sizes[item.name] = item.stat().st_size
        used = (folder / MANIFEST).stat().st_mtime
        manifest = _read_manifest(folder)
    except (OSError, DamagedEntryError):
        return Listing(folder.name, folder, sum(sizes.values()), 0.0, 0.0, False)
    complete = all(sizes.get(name) == size for name, (size, _) in manifest.files.items())
    return Listing(folder.name, folder, sum(sizes.values()), manifest.created, used, complete)
