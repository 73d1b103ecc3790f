"""Whether a folder may be loaded from, what happens when it may not, and the one warning.

In: paths, from `cache.store`. Out: a reason not to trust one, or `None`; a private folder that
lives as long as the process. A cache entry is executed when it is loaded, so it must not come from
a folder into which someone else can write. It changes no permissions.
"""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import tempfile
import threading
import warnings
from collections.abc import Iterable
from pathlib import Path

_lock = threading.Lock()
_warned = False
_private: tuple[int, Path] | None = None  # process id, folder


class CacheWarning(UserWarning):
    """The kernel cache cannot be used as it is; work goes on without it."""


def warn_once(message: str) -> None:
    """Warn about the cache, the first time in this process."""
    global _warned
    with _lock:
        if _warned:
            return
        _warned = True
    warnings.warn(message, CacheWarning, stacklevel=2)


def distrust(paths: Iterable[Path]) -> str | None:
    """Why one of these existing `paths` cannot be trusted; `None` when all can.

    A path is trusted when it belongs to this user or to the superuser, and no one else may write to
    it. Others may add names to a folder whose sticky bit is set: they cannot replace ours there.

    Raises:
        OSError: when one cannot be examined.
    """
    if not hasattr(os, "geteuid"):
        return None  # no owners to compare on this platform
    for path in paths:
        found = os.stat(path)
        if found.st_uid not in (0, os.geteuid()):
            return f"{path} belongs to another user (uid {found.st_uid})"
        if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX:
            continue
        by_group = found.st_mode & stat.S_IWGRP and not _is_private_group(found.st_gid)
        if by_group or found.st_mode & stat.S_IWOTH:
            return f"{path} can be written by others (mode {stat.S_IMODE(found.st_mode):04o})"
    return None


def _is_private_group(gid: int) -> bool:
    """Whether this user is the group's only member, as where each user has a group of their own."""
    import grp
    import pwd

    try:
        user = pwd.getpwuid(os.geteuid())
        group = grp.getgrgid(gid)
    except KeyError:
        return False
    alone = set(group.gr_mem) <= {user.pw_name}
    return alone and user.pw_gid == gid and group.gr_name == user.pw_name


def make_folder(path: Path) -> None:
    """Make `path` and the missing folders above it, for this user alone.

    Raises:
        OSError: when that fails.
    """
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def private_folder() -> Path:
    """A folder of this process alone, removed when it ends.

    Raises:
        OSError: when the temporary directory cannot be written either.
    """
    global _private
    with _lock:
        # A forked child makes its own: the parent's disappears with the parent.
        if _private is None or _private[0] != os.getpid() or not _private[1].is_dir():
            _private = (os.getpid(), Path(tempfile.mkdtemp(prefix="tilelang-cache-")))
        return _private[1]


def has_private_folder() -> bool:
    """Whether this process has had to use its private folder."""
    return _private is not None and _private[0] == os.getpid()


@atexit.register
def _remove_private_folder() -> None:
    if _private is not None and _private[0] == os.getpid():
        shutil.rmtree(_private[1], ignore_errors=True)


def reset() -> None:
    """Warn again, and forget the private folder (for tests)."""
    global _private, _warned
    _remove_private_folder()
    with _lock:
        _private, _warned = None, False
