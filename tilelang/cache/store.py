"""Compiled kernels on disk, shared by many processes and threads.

In: the files of a compilation and its `KernelParam`s, from `jit`. Out: an `Entry` that has just
been checked against its hashes. An entry is written beside its place and renamed there whole, so a
reader sees all of it or nothing. What does not match its manifest is removed and compiled again:
never trusted, never fatal. Where the root cannot be used, work goes on in a folder of this process
alone, after one warning. The store keeps nothing in memory, compiles nothing and loads no library.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tilelang.cache import trust
from tilelang.cache.entry import (
    DamagedEntryError,
    Entry,
    Listing,
    entry_contents,
    list_entry,
    make_entry,
    read_entry,
    write_entry,
)
from tilelang.cache.key import CacheKey, package_version
from tilelang.env import env

STALE_SECONDS = 3600.0  # a staging folder this old belongs to a process that died

_STAGING_PREFIX = "tilelang-staging-"
_DIGEST = re.compile(r"[0-9a-f]{64}")
# What rename says when a folder is there already: on POSIX systems, and on Windows.
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY)
_REFUSED = (errno.EACCES, errno.EPERM)
_TRIES = 20  # each one lost: another process has put an entry there, a third has removed it


@dataclass(frozen=True)
class Store:
    """The entries under one folder.

    Attributes:
        root: holds one folder per entry; made when first needed.
        top: outermost folder that must be ours alone; `root` lies in it.
        staging: where entries are written before they are renamed; used when it is on the file
            system of `root`, otherwise `.staging` in the root is.
        falls_back: whether troubles are met by working in a folder of this process alone.
    """

    root: Path
    top: Path | None = None
    staging: Path | None = None
    falls_back: bool = True

    # -- reading ----------------------------------------------------------------------------------

    def load(self, key: CacheKey | str) -> Entry | None:
        """The entry of `key`, verified; `None` when there is none that can be trusted."""
        digest = _digest(key)
        try:
            found = self._read(digest)
        except OSError as error:
            trust.warn_once(_unusable(self.root, error))
            found = None
        if found is None and self.falls_back and trust.has_private_folder():
            return _private_store().load(digest)
        return found

    def _read(self, digest: str) -> Entry | None:
        folder = self.root / digest
        try:
            inode = os.stat(folder).st_ino
            reason = trust.distrust([*self._levels(), folder])
        except (FileNotFoundError, NotADirectoryError):
            return None
        if reason is not None:
            trust.warn_once(_unusable(self.root, reason))
            return None
        try:
            return read_entry(folder)
        except DamagedEntryError as damage:
            if self._discard(folder, inode):
                trust.warn_once(f"removed a damaged entry of the kernel cache, {folder}: {damage}")
            return None

    def _levels(self) -> list[Path]:
        """The folders from `top` down to the root, as far as they exist."""
        top = self.top or self.root
        inside = [p for p in (self.root, *self.root.parents) if p == top or top in p.parents]
        return [p for p in reversed(inside) if p.exists()]

    # -- writing ----------------------------------------------------------------------------------

    def save(
        self, key: CacheKey, files: Mapping[str, bytes | Path], params: Iterable[Any]
    ) -> Entry:
        """Keep the files of a compilation under `key`.

        Where the root cannot be written, or is not ours alone, they go into this process's private
        folder. When another process was first, its entry is returned.

        Args:
            files: file name -> content, or the path of a file to copy.
            params: the kernel's parameters, cloudpickled into `params.pkl`.

        Raises:
            ArgumentError: for a file name that is not plain or that the store uses itself.
            OSError: when a given path cannot be read, or no folder at all can be written.
        """
        listed = list(params)
        return self._save(key.digest, entry_contents(key, files, listed), listed)

    def _save(self, digest: str, contents: Mapping[str, bytes], params: list[Any]) -> Entry:
        try:
            trouble = self._prepare()
            if trouble is None:
                return self._write(digest, contents, params)
        except OSError as error:
            if not self.falls_back:
                raise
            trouble = error
        trust.warn_once(_unusable(self.root, trouble))
        return _private_store()._save(digest, contents, params)

    def _prepare(self) -> str | None:
        """Make the root; why it cannot be trusted, if so."""
        reason = trust.distrust(self._levels())
        if reason is None:
            trust.make_folder(self.root)
            reason = trust.distrust(self._levels())
        if reason is None:
            self.sweep()
        return reason

    def _write(self, digest: str, contents: Mapping[str, bytes], params: list[Any]) -> Entry:
        staged = Path(tempfile.mkdtemp(prefix=_STAGING_PREFIX, dir=self._staging_folder()))
        try:
            write_entry(staged, digest, contents)
            first = self._publish(staged, digest)
            return first or make_entry(self.root / digest, contents, params)
        finally:
            shutil.rmtree(staged, ignore_errors=True)  # nothing is left of it when it was renamed

    def _publish(self, staged: Path, digest: str) -> Entry | None:
        """Rename `staged` to its place; the entry that was there first, if that one is good."""
        place = self.root / digest
        for _ in range(_TRIES):
            try:
                os.rename(staged, place)
                return None
            except OSError as error:
                refused = error.errno in _REFUSED and place.exists()
                if error.errno not in _TAKEN and not refused:
                    raise
            first = self._read(digest)  # removes a damaged one, so that the next try can succeed
            if first is not None:
                return first
        raise OSError(errno.EEXIST, "a damaged entry cannot be replaced", str(place))

    def _staging_folder(self) -> Path:
        """Where new entries are written: on the root's file system, and ours alone."""
        chosen = self.staging
        if chosen is not None:
            with contextlib.suppress(OSError):  # an unusable choice is no reason to stop
                trust.make_folder(chosen)
                same_device = os.stat(chosen).st_dev == os.stat(self.root).st_dev
                if same_device and trust.distrust([chosen]) is None:
                    return chosen
        inside = self.root / ".staging"
        trust.make_folder(inside)
        return inside

    def trouble(self) -> str | None:
        """Why entries cannot be kept here; `None` when they can. Leaves nothing behind."""
        nearest = next(p for p in (self.root, *self.root.parents) if p.exists())
        try:
            reason = trust.distrust(self._levels())
            if reason is not None:
                return reason
            with tempfile.TemporaryFile(dir=nearest):
                return None
        except OSError as error:
            return f"{nearest}: {error.strerror or error}"

    # -- housekeeping -----------------------------------------------------------------------------

    def discard(self, key: CacheKey | str) -> None:
        """Remove the entry of `key`, as when its library does not load."""
        folder = self.root / _digest(key)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self._discard(folder, os.stat(folder).st_ino)

    def _discard(self, folder: Path, inode: int) -> bool:
        """Remove `folder` if it is still the one that was looked at; whether this call did it."""
        trash: str | None = None
        try:
            if os.stat(folder).st_ino != inode:
                return False  # another process has put a new entry there
            # Renamed first, so that no one sees it half removed.
            trash = tempfile.mkdtemp(prefix=_STAGING_PREFIX, dir=self._staging_folder())
            os.rename(folder, os.path.join(trash, "entry"))
        except OSError:
            return False  # the next writer of this key finds out whether it stands in the way
        finally:
            if trash is not None:
                shutil.rmtree(trash, ignore_errors=True)
        return True

    def sweep(self, older_than: float = STALE_SECONDS) -> int:
        """Remove staging folders that killed processes left `older_than` seconds ago; how many."""
        removed = 0
        before = time.time() - older_than
        for place in (self.staging, self.root / ".staging"):
            for folder in _subfolders(place):
                with contextlib.suppress(OSError):  # another process may be sweeping too
                    if folder.name.startswith(_STAGING_PREFIX) and folder.stat().st_mtime < before:
                        shutil.rmtree(folder)
                        removed += 1
        return removed

    def list(self) -> list[Listing]:
        """All entries, the one used last first."""
        found = [list_entry(f) for f in _subfolders(self.root) if _DIGEST.fullmatch(f.name)]
        return sorted(found, key=lambda item: (-item.used, item.key))

    def size(self) -> int:
        """Bytes of all entries."""
        return sum(item.size for item in self.list())

    def clear(self, older_than: float | None = None) -> int:
        """Remove the entries, or those not used for `older_than` seconds; how many.

        Raises:
            OSError: when some could not be removed; the others are.
        """
        before = time.time() - older_than if older_than is not None else float("inf")
        chosen = [item for item in self.list() if item.used < before]
        for item in chosen:
            self.discard(item.key)
        self.sweep()
        left = [item.path for item in chosen if item.path.exists()]
        if left:
            raise OSError(errno.EACCES, f"{len(left)} entries cannot be removed", str(left[0]))
        return len(chosen)


def _private_store() -> Store:
    folder = trust.private_folder()
    return Store(folder / "kernels", folder, falls_back=False)


def cache_root(top: Path | None = None, version: str | None = None) -> Path:
    """`<cache>/<version>/<platform>-<machine>/kernels`."""
    machine = f"{sys.platform}-{platform.machine()}"
    return (top or env.cache_dir) / (version or package_version()) / machine / "kernels"


def default_store() -> Store:
    """The store that the environment switches describe, read now."""
    try:
        top = env.cache_dir.absolute()
        staging = Path(env.TILELANG_TMP_DIR).expanduser() if env.TILELANG_TMP_DIR else top / "tmp"
    except RuntimeError as error:  # this user has no home folder
        trust.warn_once(f"no kernel cache: {error}; set TILELANG_CACHE_DIR")
        return _private_store()
    return Store(cache_root(top), top, staging)


def all_stores(top: Path) -> list[Store]:
    """The stores of every version and platform under the cache folder `top`."""
    roots = [p for v in _subfolders(top) for m in _subfolders(v) for p in _subfolders(m)]
    return [Store(root, top, top / "tmp") for root in roots if root.name == "kernels"]


def clear_private() -> None:
    """Remove what this process had to keep in its private folder."""
    if trust.has_private_folder():
        _private_store().clear()


def _digest(key: CacheKey | str) -> str:
    digest = str(key)
    assert _DIGEST.fullmatch(digest), f"{digest!r} is no key: it would name a path of its own"
    return digest


def _unusable(root: Path, reason: object) -> str:
    what = reason.strerror or str(reason) if isinstance(reason, OSError) else reason
    return f"the kernel cache {root} cannot be used: {what}; kernels are kept for this process only"


def _subfolders(folder: Path | None) -> Iterator[Path]:
    """Folders in `folder`; none when it does not exist or may not be listed."""
    if folder is None:
        return
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        if (folder / name).is_dir():
            yield folder / name
