"""The disk store: whole entries or none, whatever happens to the folder or the process."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from tilelang.cache import (
    CacheKey,
    CacheWarning,
    Entry,
    Store,
    clear_cache,
    default_store,
    on_clear,
    trust,
)
from tilelang.cache import entry as entry_module
from tilelang.cache.store import all_stores, cache_root
from tilelang.env import env
from tilelang.errors import ArgumentError

MakeKey = Callable[..., CacheKey]

FILES: dict[str, bytes | Path] = {
    "device_kernel.c": b"int f(void) { return 1; }\n",
    "host_kernel.c": b"int host;\n",
    "executable.so": bytes(range(256)) * 40,
}
PARAMS = [("float32", [4, 8]), ("int32", [])]
ALL_FILES = (*FILES, "params.pkl", "key.json", "manifest.json")
needs_owners = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no file owners here")
needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away"
)


def count_warnings(action: Callable[[], object]) -> tuple[object, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = action()
    return result, [str(w.message) for w in caught if issubclass(w.category, CacheWarning)]


def leftovers(store: Store) -> list[Path]:
    return list((store.root / ".staging").glob("*"))


# -- the ordinary course ---------------------------------------------------------------------------


def test_saved_is_loaded(store: Store, key: MakeKey) -> None:
    assert store.load(key()) is None
    saved = store.save(key(), FILES, PARAMS)
    loaded = store.load(key())
    assert loaded == saved
    assert loaded is not None and loaded.params == PARAMS
    assert loaded.executable.read_bytes() == FILES["executable.so"]
    assert loaded.device_source == "int f(void) { return 1; }\n"
    assert loaded.host_source == "int host;\n"
    assert sorted(p.name for p in loaded.path.iterdir()) == sorted(ALL_FILES)
    assert leftovers(store) == []


def test_a_given_path_is_copied(store: Store, key: MakeKey, tmp_path: Path) -> None:
    (tmp_path / "built.so").write_bytes(b"binary")
    entry = store.save(key(), {"executable.so": tmp_path / "built.so"}, [])
    assert entry.executable.read_bytes() == b"binary"
    assert (tmp_path / "built.so").exists()
    with pytest.raises(FileNotFoundError, match=r"without kernel\.cubin"):
        entry.file("kernel.cubin")


def test_other_keys_stay_apart(store: Store, key: MakeKey) -> None:
    store.save(key(), FILES, PARAMS)
    assert store.load(key(target="c neon")) is None


def test_the_first_entry_stays(store: Store, key: MakeKey) -> None:
    store.save(key(), {"executable.so": b"first"}, [1])
    second = store.save(key(), {"executable.so": b"second"}, [2])
    assert second.params == [1]
    assert second.executable.read_bytes() == b"first"
    assert leftovers(store) == []


def test_key_parts_lie_beside_the_binary(store: Store, key: MakeKey) -> None:
    store.save(key(flags=["-g"]), FILES, PARAMS)
    (listing,) = store.list()
    assert listing.parts() == key(flags=["-g"]).as_dict()
    assert listing.complete and listing.created <= time.time() and listing.used > 0
    assert listing.size == sum(p.stat().st_size for p in listing.path.iterdir()) == store.size()


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "manifest.json", "params.pkl"])
def test_file_names_stay_in_the_folder(store: Store, key: MakeKey, name: str) -> None:
    with pytest.raises(ArgumentError, match="cannot be the name of a cached file"):
        store.save(key(), {name: b""}, [])


def test_a_missing_input_is_the_callers_error(store: Store, key: MakeKey, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.save(key(), {"executable.so": tmp_path / "absent"}, [])


def test_a_key_is_no_path(store: Store) -> None:
    with pytest.raises(AssertionError, match="is no key"):
        store.load("../../etc")


# -- damage ----------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip_one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    "harm", [truncate, flip_one_bit, Path.unlink, lambda p: p.write_bytes(b"")]
)
@pytest.mark.parametrize("name", ALL_FILES)
def test_damage_is_found_removed_and_repaired(
    store: Store, key: MakeKey, name: str, harm: Callable[[Path], object]
) -> None:
    entry = store.save(key(), FILES, PARAMS)
    if name == "manifest.json" and harm is flip_one_bit:
        harm = truncate  # one bit of the creation time may change without harm
    harm(entry.path / name)
    found, warned = count_warnings(lambda: store.load(key()))
    assert found is None
    assert len(warned) == 1 and "damaged" in warned[0] and str(entry.path) in warned[0]
    assert not entry.path.exists()
    store.save(key(), FILES, PARAMS)
    assert store.load(key()) == entry


def test_an_entry_moved_to_another_key_is_damaged(store: Store, key: MakeKey) -> None:
    entry = store.save(key(), FILES, PARAMS)
    other = key(ir="something else")
    entry.path.rename(store.root / other.digest)
    assert count_warnings(lambda: store.load(other))[0] is None


def test_a_manifest_cannot_name_files_elsewhere(store: Store, key: MakeKey) -> None:
    entry = store.save(key(), FILES, PARAMS)
    manifest = entry.path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"executable.so"', '"../executable.so"'))
    assert count_warnings(lambda: store.load(key()))[0] is None


def test_saving_over_a_damaged_entry_replaces_it(store: Store, key: MakeKey) -> None:
    entry = store.save(key(), FILES, [1])
    truncate(entry.executable)
    again, _ = count_warnings(lambda: store.save(key(), FILES, [2]))
    assert isinstance(again, Entry) and again.params == [2]
    assert store.load(key()) == again


def test_a_file_in_the_place_of_an_entry(store: Store, key: MakeKey) -> None:
    store.save(key(target="other"), FILES, PARAMS)
    (store.root / key().digest).write_text("not a folder")
    found, _ = count_warnings(lambda: store.load(key()))
    assert found is None
    entry, _ = count_warnings(lambda: store.save(key(), FILES, PARAMS))
    assert isinstance(entry, Entry) and entry.executable.exists()


def test_parameters_of_a_class_that_is_gone(store: Store, key: MakeKey) -> None:
    gone = type("Gone", (), {"__module__": "tests_module_that_is_gone"})
    module = type(sys)("tests_module_that_is_gone")
    module.Gone = gone  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    try:
        store.save(key(), FILES, [gone()])
    finally:
        del sys.modules[module.__name__]
    found, warned = count_warnings(lambda: store.load(key()))
    assert found is None and "params.pkl" in warned[0]


# -- a folder that cannot be used ------------------------------------------------------------------


def check_work_goes_on(store: Store, key: MakeKey) -> str:
    """Save and load twice; the one warning's text."""

    def work() -> None:
        for target in ("first", "second"):
            saved = store.save(key(target=target), FILES, PARAMS)
            assert saved.executable.read_bytes() == FILES["executable.so"]
            assert store.load(key(target=target)) == saved
            assert store.root not in saved.path.parents

    _, warned = count_warnings(work)
    assert len(warned) == 1
    assert str(store.root) in warned[0] and "kept for this process only" in warned[0]
    return warned[0]


def test_a_full_disk(store: Store, key: MakeKey, monkeypatch: pytest.MonkeyPatch) -> None:
    original = entry_module._write_file

    def write(path: Path, content: bytes) -> None:
        if store.root in path.parents and path.name == "executable.so":
            original(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(path, content)

    monkeypatch.setattr(entry_module, "_write_file", write)
    assert "No space left" in check_work_goes_on(store, key)
    assert store.list() == [] and leftovers(store) == []


def test_a_path_that_is_a_file(cache_dir: Path, key: MakeKey) -> None:
    cache_dir.write_text("")
    check_work_goes_on(Store(cache_dir / "kernels", cache_dir), key)


@needs_owners
def test_a_folder_that_others_can_write(store: Store, cache_dir: Path, key: MakeKey) -> None:
    planted = store.save(key(target="first"), FILES, ["planted"])
    cache_dir.chmod(0o777)
    warned = check_work_goes_on(store, key)
    assert "can be written by others (mode 0777)" in warned
    assert planted.path.exists()


@needs_owners
def test_an_entry_that_others_can_write(store: Store, key: MakeKey) -> None:
    entry = store.save(key(), FILES, PARAMS)
    entry.path.chmod(0o757)
    found, warned = count_warnings(lambda: store.load(key()))
    assert found is None and len(warned) == 1


@needs_owners
def test_a_sticky_folder_is_fine(store: Store, cache_dir: Path, key: MakeKey) -> None:
    cache_dir.mkdir()
    cache_dir.chmod(0o1777)
    saved, warned = count_warnings(lambda: store.save(key(), FILES, PARAMS))
    assert warned == [] and store.load(key()) == saved


@needs_root
@pytest.mark.parametrize("level", ["top", "root", "entry", "file"])
def test_a_folder_of_another_user(store: Store, cache_dir: Path, key: MakeKey, level: str) -> None:
    entry = store.save(key(), FILES, PARAMS)
    chosen = {
        "top": cache_dir, "root": store.root, "entry": entry.path, "file": entry.executable,
    }[level]  # fmt: skip
    os.chown(chosen, 12345, 12345)
    found, warned = count_warnings(lambda: store.load(key()))
    assert found is None
    assert len(warned) == 1 and "belongs to another user (uid 12345)" in warned[0]


UNPRIVILEGED = """
import os, sys, warnings
from pathlib import Path
import cloudpickle  # before the user changes: it may not read the library's folder
from tilelang.cache import CacheKey, Store
# An unprivileged user, as the superuser may write everywhere.
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
top = Path(sys.argv[1])
store, key = Store(top / "kernels", top), CacheKey.from_parts([("ir", "x")])
other = CacheKey.from_parts([("ir", "y")])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    assert store.load(key).params == [7], "a read-only cache can still be read"
    assert caught == []
    saved = store.save(other, {"executable.so": b"z"}, [8])
    assert top not in saved.path.parents
    assert store.load(other).params == [8]
    store.save(CacheKey.from_parts([("ir", "w")]), {"executable.so": b"z"}, [9])
    assert len(caught) == 1, caught
print(caught[0].message)
print(saved.path)
"""


@needs_owners
def test_a_read_only_folder(tmp_path: Path) -> None:
    uid = 54321 if os.geteuid() == 0 else os.geteuid()
    place = Path(tempfile.mkdtemp())  # pytest's own folder is closed to other users
    try:
        store = Store(place / "kernels", place)
        store.save(CacheKey.from_parts([("ir", "x")]), {"executable.so": b"x"}, [7])
        for path in (place, *place.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        run = subprocess.run(
            [sys.executable, "-c", UNPRIVILEGED, str(place), str(uid)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        warned, private = run.stdout.splitlines()
        assert str(place) in warned
        assert not Path(private).exists()  # gone with its process
    finally:
        for path in (place, *place.rglob("*")):
            path.chmod(0o755)
        shutil.rmtree(place)


def test_no_folder_at_all(store: Store, key: MakeKey, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(entry_module, "_write_file", refuse)
    with pytest.raises(OSError, match="No space left"):
        count_warnings(lambda: store.save(key(), FILES, PARAMS))


def test_no_home(key: MakeKey, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    entry, warned = count_warnings(lambda: default_store().save(key(), FILES, PARAMS))
    assert isinstance(entry, Entry) and entry.executable.exists()
    assert len(warned) == 1 and "TILELANG_CACHE_DIR" in warned[0]


# -- many at once ----------------------------------------------------------------------------------


def test_a_killed_writer_leaves_no_entry(store: Store, cache_dir: Path, key: MakeKey) -> None:
    code = """
        import os, signal, sys
        from pathlib import Path
        from tilelang.cache import CacheKey, Store, entry
        original = entry._write_file
        def write(path, content):
            if path.name == sys.argv[2]:
                original(path, content[:len(content) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            original(path, content)
        entry._write_file = write
        top = Path(sys.argv[1])
        files = {"executable.so": b"x" * 100000}
        Store(top / "kernels", top).save(CacheKey.from_parts([("ir", "x")]), files, [1])
    """
    made = CacheKey.from_parts([("ir", "x")])
    for name in ("executable.so", "params.pkl", "manifest.json"):
        command = [sys.executable, "-c", textwrap.dedent(code), str(cache_dir), name]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert len(leftovers(store)) == 3
    assert store.load(made) is None
    store.save(made, {"executable.so": b"right"}, [2])
    loaded = store.load(made)
    assert loaded is not None and loaded.executable.read_bytes() == b"right"
    assert len(leftovers(store)) == 3  # too young to be known as dead
    long_ago = time.time() - 3700
    for folder in leftovers(store)[:2]:
        os.utime(folder, (long_ago, long_ago))
    store.save(key(), FILES, PARAMS)
    assert len(leftovers(store)) == 1


def hammer(top: str, seed: int, failures: multiprocessing.Queue[str]) -> None:
    """Save, load, damage and remove a few keys; every entry seen must be whole."""
    try:
        store = Store(Path(top) / "kernels", Path(top))
        warnings.simplefilter("ignore")
        for step in range(60):
            which = (seed * 7 + step * 3) % 4
            made = CacheKey.from_parts([("ir", str(which))])
            entry = store.load(made)
            if entry is None:
                content = bytes([which]) * 5000
                entry = store.save(made, {"executable.so": content}, [which])
            assert entry.params == [which], entry.params
            action = (seed + step) % 9
            if action == 0:
                store.discard(made)
            elif action == 1:
                with contextlib.suppress(FileNotFoundError):  # another process removed it
                    (store.root / made.digest / "executable.so").write_bytes(b"damaged")
        assert not trust.has_private_folder(), "fell back although nothing is wrong"
    except BaseException as error:
        failures.put(f"{type(error).__name__}: {error}")


@pytest.mark.parametrize("kind", ["processes", "threads"])
def test_many_writers_and_readers(cache_dir: Path, kind: str) -> None:
    context = multiprocessing.get_context("spawn")
    failures = context.Queue()
    make = context.Process if kind == "processes" else threading.Thread
    count = 4 if kind == "processes" else 8
    workers = [make(target=hammer, args=(str(cache_dir), i, failures)) for i in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert not worker.is_alive()
    assert failures.empty(), failures.get()
    assert leftovers(Store(cache_dir / "kernels", cache_dir)) == []


def test_a_race_for_one_key_has_one_winner(store: Store, key: MakeKey) -> None:
    barrier = threading.Barrier(8)
    won: list[int] = []

    def write(number: int) -> None:
        barrier.wait()
        won.append(store.save(key(), {"executable.so": bytes([number])}, [number]).params[0])

    threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 8 and len(set(won)) == 1
    loaded = store.load(key())
    assert loaded is not None and loaded.params == [won[0]]


# -- housekeeping ----------------------------------------------------------------------------------


def test_clear_removes_all_or_the_unused(store: Store, key: MakeKey) -> None:
    entries = [store.save(key(target=str(i)), FILES, PARAMS) for i in range(3)]
    long_ago = time.time() - 1000
    os.utime(entries[1].path / "manifest.json", (long_ago, long_ago))
    assert [item.key for item in store.list()][-1] == entries[1].key
    assert store.clear(older_than=500) == 1
    assert not entries[1].path.exists()
    assert store.clear() == 2
    assert store.list() == [] and store.size() == 0 and leftovers(store) == []


def test_loading_counts_as_use(store: Store, key: MakeKey) -> None:
    entry = store.save(key(), FILES, PARAMS)
    long_ago = time.time() - 1000
    os.utime(entry.path / "manifest.json", (long_ago, long_ago))
    store.load(key())
    assert store.clear(older_than=500) == 0


def test_a_damaged_folder_is_listed_and_cleared(store: Store, key: MakeKey) -> None:
    entry = store.save(key(), FILES, PARAMS)
    truncate(entry.path / "manifest.json")
    (entry.path / "key.json").write_text("3")
    (listing,) = store.list()
    assert not listing.complete and listing.parts() == {}
    assert store.clear() == 1 and store.list() == []


def test_an_entry_in_use_survives_its_removal(store: Store, key: MakeKey) -> None:
    entry = store.save(key(), FILES, PARAMS)
    with entry.executable.open("rb") as library:
        store.clear()
        assert library.read() == FILES["executable.so"]


def test_clear_cache_clears_disk_memory_and_private(cache_dir: Path, key: MakeKey) -> None:
    cleared: list[str] = []
    forget = lambda: cleared.append("memory")  # noqa: E731
    on_clear(forget)
    on_clear(forget)
    default_store().save(key(), FILES, PARAMS)
    blocked = Store(cache_dir / "kernels" / "x", cache_dir / "kernels")
    (cache_dir / "kernels").write_text("")
    private, _ = count_warnings(lambda: blocked.save(key(), FILES, PARAMS))
    assert isinstance(private, Entry)
    assert clear_cache() == 1
    assert cleared == ["memory"]
    assert default_store().load(key()) is None and not private.path.exists()


def test_layout_of_the_cache_folder(cache_dir: Path, key: MakeKey) -> None:
    entry = default_store().save(key(), FILES, PARAMS)
    parts = entry.path.relative_to(cache_dir).parts
    assert parts[1].startswith(sys.platform + "-") and parts[2:] == ("kernels", key().digest)
    assert [s.root for s in all_stores(cache_dir)] == [cache_root(cache_dir)]


def test_staging_can_be_chosen(cache_dir: Path, key: MakeKey, tmp_path: Path) -> None:
    with env.scope(TILELANG_TMP_DIR=str(tmp_path / "staging")):
        default_store().save(key(), FILES, PARAMS)
    assert (tmp_path / "staging").is_dir()
    assert not (cache_root(cache_dir) / ".staging").exists()


def test_switches_are_read_live(cache_dir: Path, tmp_path: Path, key: MakeKey) -> None:
    default_store().save(key(), FILES, PARAMS)
    with env.scope(TILELANG_CACHE_DIR=str(tmp_path / "other")):
        assert default_store().load(key()) is None
    assert default_store().load(key()) is not None


def test_kernel_parameters_keep_shared_symbols(store: Store, key: MakeKey) -> None:
    from tilelang.engine.param import KernelParam
    from tilelang.ir.dtype import dtype
    from tilelang.ir.expr import Var

    rows = Var("rows", dtype("int32"))
    params = [KernelParam(dtype("float8_e4m3"), [rows, 4]), KernelParam(dtype("int32"), [rows * 2])]
    store.save(key(), {}, params)
    loaded = store.load(key())
    assert loaded is not None
    first, second = loaded.params
    assert first.dtype == dtype("float8_e4m3") and first.shape[1] == 4
    assert second.shape[0].a is first.shape[0]  # one variable, as before
