"""What is wrong with the machine, the options or the run: end to end through `tilelang.compile`."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tilelang
import tilelang.language as T
from tests.errors.location import assert_located
from tilelang.cache import CacheWarning, Store, trust
from tilelang.engine import toolchain
from tilelang.env import env
from tilelang.errors import (
    ArgumentTypeError,
    ConfigError,
    Error,
    LanguageError,
    TargetError,
    ToolchainError,
)
from tilelang.jit.compile import clear_memory

BACKENDS = ("tvm_ffi", "cython")
F = "float32"


@T.prim_func
def double(A: T.Tensor((8,), F)):
    with T.Kernel(1):
        for i in T.Parallel(8):
            A[i] = A[i] * 2.0


def compiled_and_right(**options: Any) -> Any:
    """`double`, compiled and run once."""
    kernel = tilelang.compile(double, target="c", **options)
    array = np.arange(8, dtype=np.float32)
    kernel(array)
    assert array.tolist() == [2.0 * i for i in range(8)]
    return kernel


@pytest.fixture
def cache_dir(tmp_path: Path) -> Iterator[Path]:
    """A cache of this test's own; nothing in memory, and warnings count anew."""
    trust.reset()
    clear_memory()
    with env.scope(TILELANG_CACHE_DIR=str(tmp_path / "cache"), TILELANG_TMP_DIR=""):
        yield tmp_path / "cache"
    clear_memory()
    trust.reset()


@pytest.fixture
def other_compiler(monkeypatch: pytest.MonkeyPatch, cache_dir: Path) -> Iterator[Any]:
    """`monkeypatch`; what is known of compilers is forgotten before and after."""
    toolchain.clear()
    yield monkeypatch
    toolchain.clear()


def executable(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


# -- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "mentions"),
    [
        ("cudda", ("unknown target 'cudda'", "this build has")),
        ("cc", ("unknown target 'cc'", "did you mean 'c'?")),
        ("outo", ("unknown target 'outo'", "did you mean 'auto'?")),
        (3, ("a string, a dict or a Target", "int 3")),
        ("c avx2", ("'avx2' is no option", "-name=value")),
        ('{"kind": "c"', ("is no JSON",)),
        ({"kind": "cuda_"}, ("unknown target 'cuda_'",)),
    ],
)
def test_unknown_target(target, mentions):
    with pytest.raises(TargetError) as caught:
        tilelang.compile(double, target=target)
    line = "tilelang.compile(double, target=target)"
    assert_located(caught.value, line, "tilelang.compile", *mentions)


def test_target_of_the_environment():
    with (
        env.scope(TILELANG_TARGET="cpuu"),
        pytest.raises(TargetError, match="unknown target 'cpuu'"),
    ):
        tilelang.compile(double)


@pytest.mark.parametrize(
    ("backend", "hint"),
    [("tvm_fi", "did you mean 'tvm_ffi'?"), ("nvrtc", "use one of tvm_ffi, cython")],
)
def test_unknown_backend(backend, hint):
    with pytest.raises(TargetError) as caught:
        tilelang.compile(double, target="c", execution_backend=backend)
    assert_located(
        caught.value, "execution_backend=backend", "tilelang.compile", repr(backend), "`c`", hint
    )


@pytest.mark.parametrize(
    ("configs", "mentions"),
    [
        (
            {"tl.disable_warp_specialised": True},
            ("'tl.disable_warp_specialised'", "did you mean 'tl.disable_warp_specialized'?"),
        ),
        ({3: True}, ("unknown pass configuration key '3'",)),
        ({"tl.Simplify": "yes"}, ("'tl.Simplify' is 'yes'", "True or False")),
        (["tl.Simplify"], ("pass_configs is a list", "expected a dict")),
    ],
)
def test_pass_configuration(configs, mentions):
    with pytest.raises(ConfigError) as caught:
        tilelang.compile(double, target="c", pass_configs=configs)
    assert_located(caught.value, "pass_configs=configs", "tilelang.compile", *mentions)


def test_other_options():
    with pytest.raises(TypeError) as caught:
        tilelang.compile(3, target="c")
    assert_located(caught.value, "tilelang.compile(3", "tilelang.compile", "int", "@T.prim_func")
    with pytest.raises(ArgumentTypeError) as caught:
        tilelang.compile(double, target="c", compile_flags=3)
    assert_located(caught.value, "compile_flags=3", "tilelang.compile", "compile_flags is 3")
    with pytest.raises(ValueError) as caught:
        tilelang.compile(double, target="c", out_idx=[4])
    assert_located(caught.value, "out_idx=[4]", "tilelang.compile", "out_idx 4", "1 parameters")


def test_environment_switch_of_another_type(monkeypatch):
    monkeypatch.setenv("TILELANG_NUM_THREADS", "many")
    with pytest.raises(ValueError, match="TILELANG_NUM_THREADS is 'many', expected an integer"):
        _ = env.TILELANG_NUM_THREADS


# -- the C compiler ------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_compiler(other_compiler, tmp_path, backend):
    other_compiler.setenv("PATH", str(tmp_path))
    other_compiler.delenv("CC", raising=False)
    other_compiler.setattr(toolchain, "_zig_executable", lambda: None)
    with pytest.raises(ToolchainError) as caught:
        tilelang.compile(double, target="c", execution_backend=backend)
    assert_located(
        caught.value, "execution_backend=backend", "tilelang.compile", "no C compiler found",
        "install gcc or clang", "pip install ziglang", "$CC",
    )  # fmt: skip
    with pytest.raises(ToolchainError, match="no C compiler found"):
        tilelang.compile(double)  # what `auto` means needs no compiler


def test_a_compiler_that_is_not_there(other_compiler):
    other_compiler.setenv("CC", "/nowhere/cc")
    with pytest.raises(ToolchainError) as caught:
        tilelang.compile(double, target="c")
    assert_located(caught.value, "tilelang.compile", None, "$CC", "`/nowhere/cc`", "unset CC")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_compiler_that_fails(other_compiler, tmp_path, backend):
    real = toolchain.find_compiler_command()[0]
    stops = 'for a in "$@"; do [ "$a" = -shared ] && { echo "boom at line 3" >&2; exit 7; }; done'
    fake = executable(tmp_path / "cc", f'{stops}\nexec {real} "$@"')
    other_compiler.setenv("CC", str(fake))
    other_compiler.setattr(tempfile, "tempdir", str(tmp_path))
    toolchain.clear()
    with pytest.raises(ToolchainError) as caught:
        tilelang.compile(double, target="c", execution_backend=backend)
    text = str(caught.value)
    assert "exit status 7" in text and "boom at line 3" in text
    assert isinstance(caught.value.span.source_line(), str)
    found = re.search(r"on (\S+\.c)$", text.splitlines()[0])
    assert found, text
    kept = Path(found[1])
    assert "void" in kept.read_text() and "double" in kept.name
    command = next(line for line in text.splitlines() if "command: " in line)
    assert command.split("command: ")[1].startswith(str(fake)) and str(kept) in command


def test_flags_that_the_compiler_does_not_know(cache_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ToolchainError) as caught:
        tilelang.compile(double, target="c", compile_flags=["-fno-such-flag"])
    text = str(caught.value)
    assert "-fno-such-flag" in text and "remove compile_flags ['-fno-such-flag']" in text
    assert "tilelang.compile(double" in caught.value.span.source_line()


# -- the cache -----------------------------------------------------------------------------------


def kept(cache_dir: Path) -> list[Path]:
    """Libraries of whole entries."""
    return [p for p in cache_dir.rglob("executable.so") if (p.parent / "manifest.json").exists()]


def goes_on(action: Callable[[], object]) -> list[str]:
    """Run it; what it warned of concerning the cache."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action()
    return [str(w.message) for w in caught if issubclass(w.category, CacheWarning)]


def test_a_damaged_entry(cache_dir):
    assert goes_on(compiled_and_right) == []
    (library,) = kept(cache_dir)
    library.chmod(0o644)
    library.write_bytes(library.read_bytes()[:100])
    clear_memory()
    (warned,) = goes_on(compiled_and_right)
    assert "damaged" in warned and str(library.parent) in warned
    clear_memory()
    assert goes_on(compiled_and_right) == []  # the new entry is whole


def test_an_entry_whose_library_is_none(cache_dir, monkeypatch):
    """An entry that agrees with its manifest, and still is no library that this machine loads."""
    save = Store.save

    def save_other(self: Store, key: Any, files: Any, params: Any) -> Any:
        return save(self, key, {**files, "executable.so": b"no library"}, params)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "save", save_other)
        compiled_and_right()
    clear_memory()
    (warned,) = goes_on(compiled_and_right)
    assert "recompiling `double`" in warned
    clear_memory()
    assert goes_on(compiled_and_right) == []


def test_a_cache_that_is_a_file(cache_dir):
    cache_dir.write_text("")
    (warned,) = goes_on(compiled_and_right)
    assert str(cache_dir) in warned and "kept for this process only" in warned


def test_a_cache_that_others_can_write(cache_dir):
    cache_dir.mkdir()
    cache_dir.chmod(0o777)
    (warned,) = goes_on(compiled_and_right)
    assert "can be written by others (mode 0777)" in warned


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away"
)
def test_a_cache_of_another_user(cache_dir):
    cache_dir.mkdir()
    os.chown(cache_dir, 12345, 12345)
    (warned,) = goes_on(compiled_and_right)
    assert "belongs to another user (uid 12345)" in warned


def test_a_full_disk(cache_dir, monkeypatch):
    import errno

    from tilelang.cache import entry

    original = entry._write_file

    def write(path: Path, content: bytes) -> None:
        if cache_dir in path.parents:
            original(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(path, content)

    monkeypatch.setattr(entry, "_write_file", write)
    (warned,) = goes_on(compiled_and_right)
    assert "No space left" in warned
    assert kept(cache_dir) == []


PROGRAM = """
import os, signal, sys, warnings
sys.path[:0] = sys.argv[2:]
import numpy as np, tilelang, tilelang.language as T
from tilelang.cache import entry

@T.prim_func
def triple(A: T.Tensor((8,), "float32")):
    with T.Kernel(1):
        for i in T.Parallel(8):
            A[i] = A[i] * 3.0

if sys.argv[1] == "die":
    original = entry._write_file
    def write(path, content):
        if path.name.startswith("executable"):
            original(path, content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        original(path, content)
    entry._write_file = write
if sys.argv[1] == "drop":  # the superuser may write everywhere
    # imports all there is
    with tilelang.env.scope(TILELANG_CACHE_DIR=os.environ["TILELANG_CACHE_DIR"] + "-other"):
        tilelang.compile(triple, target="c", execution_backend="cython")(np.zeros(8, np.float32))
    if os.geteuid() == 0:
        os.setgroups([]); os.setgid(54321); os.setuid(54321)
    sys.modules["tilelang.jit.compile"].clear_memory()
    tilelang.engine.runtime.private_folder.cache_clear()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    array = np.arange(8, dtype=np.float32)
    tilelang.compile(triple, target="c", execution_backend="cython")(array)
assert array.tolist() == [3.0 * i for i in range(8)], array
print(len([w for w in caught if "cache" in str(w.message)]))
"""


def run_program(mode: str, file: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    file.write_text(textwrap.dedent(PROGRAM))
    root = str(Path(tilelang.__file__).parent.parent)
    return subprocess.run(
        [sys.executable, str(file), mode, root],
        env={**os.environ, "TILELANG_CACHE_DIR": str(cache), "TMPDIR": str(cache.parent)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_killed_while_writing_the_cache(tmp_path):
    file, cache = tmp_path / "program.py", tmp_path / "cache"
    killed = run_program("die", file, cache)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert kept(cache) == [] and list(cache.rglob("executable.so")) != []  # half of it
    for _ in range(2):  # compiled again, then from the cache
        after = run_program("run", file, cache)
        assert after.returncode == 0, after.stderr
        assert after.stdout == "0\n"
    assert len(kept(cache)) == 1


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no file owners here")
def test_a_read_only_cache(tmp_path):
    place = Path(tempfile.mkdtemp())  # pytest's own folder is closed to other users
    try:
        place.chmod(0o1777)
        cache = place / "cache"
        cache.mkdir(0o555)
        cache.chmod(0o555)
        result = run_program("drop", place / "program.py", cache)
        assert result.returncode == 0, result.stderr
        assert result.stdout == "1\n"
        assert list(cache.iterdir()) == []
    finally:
        shutil.rmtree(place)


# -- source that cannot be read ------------------------------------------------------------------


def test_no_source_text():
    scope: dict[str, Any] = {"T": T, "tilelang": tilelang}
    text = "@tilelang.jit\ndef kernel(A):\n    A: T.Tensor((4,), 'float32')\n"
    with pytest.raises(LanguageError) as caught:
        exec(text, scope)
        scope["kernel"](np.zeros(4, np.float32))
    assert isinstance(caught.value, Error)
    assert "no source text for `kernel`" in caught.value.message
    assert "put the kernel in a file" in str(caught.value)


def test_no_source_text_in_an_interactive_session():
    program = (
        "import tilelang.language as T\n"
        "@T.prim_func\n"
        "def kernel(A: T.Tensor((4,), 'float32')):\n"
        "    pass\n"
        "\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(tilelang.__file__).parent.parent)}
    result = subprocess.run(
        [sys.executable, "-i"], input=program, env=environment, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    if sys.version_info >= (3, 13):  # the session keeps its lines
        assert "Error" not in result.stderr or "no source text" in result.stderr
    else:
        assert "no source text for `kernel`" in result.stderr


# -- while a kernel runs -------------------------------------------------------------------------


@T.prim_func
def gather(A: T.Tensor((8,), F), at: T.Tensor((1,), "int32")):
    with T.Kernel(1):
        S = T.alloc_shared((8,), F)
        T.copy(A, S)
        A[0] = S[at[0]]  # gather


@T.prim_func
def asserted(A: T.Tensor((8,), F), at: T.Tensor((1,), "int32")):
    with T.Kernel(1):
        T.device_assert(at[0] < 5, "index too large")  # assert
        A[0] = 1.0


def line_of(mark: str) -> str:
    """`file:line` of the line of this file that ends with `# mark`."""
    lines = Path(__file__).read_text().splitlines()
    (number,) = (n for n, text in enumerate(lines, 1) if text.endswith(f"# {mark}"))
    return f"{__file__}:{number}"


@pytest.mark.parametrize("backend", BACKENDS)
def test_device_assert(cache_dir, backend):
    kernel = tilelang.compile(asserted, target="c", execution_backend=backend)
    array = np.zeros(8, np.float32)
    kernel(array, np.array([4], np.int32))
    assert array[0] == 1.0
    with pytest.raises(RuntimeError) as caught:
        kernel(array, np.array([5], np.int32))
    assert str(caught.value).splitlines()[0] == f"asserted(): {line_of('assert')}: index too large"


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_sanitizer(cache_dir, backend):
    options = {"target": "c", "execution_backend": backend}
    array = np.zeros(8, np.float32)
    with env.scope(TILELANG_SANITIZE=True):
        index = tilelang.compile(gather, **options)
    index(array, np.array([7], np.int32))
    for at in (8, -1):
        with pytest.raises(RuntimeError) as caught:
            index(array, np.array([at], np.int32))
        expected = f"gather(): {line_of('gather')}: S[at[0]]: index {at} is outside axis 0"
        assert str(caught.value).splitlines()[0].startswith(expected)
        assert "8 elements" in str(caught.value)


@T.prim_func
def partly(A: T.Tensor((8,), F), at: T.Tensor((1,), "int32")):
    with T.Kernel(1):
        S = T.alloc_shared((8,), F)
        for i in T.serial(at[0]):
            S[i] = A[i]
        for i in T.Parallel(8):
            A[i] = S[i] + 1.0  # partly


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_sanitizer_and_memory_without_a_value(cache_dir, backend):
    with env.scope(TILELANG_SANITIZE=True):
        kernel = tilelang.compile(partly, target="c", execution_backend=backend)
    array = np.zeros(8, np.float32)
    kernel(array, np.array([8], np.int32))
    assert array.tolist() == [1.0] * 8
    with pytest.raises(RuntimeError) as caught:
        kernel(array, np.array([5], np.int32))
    expected = f"partly(): {line_of('partly')}: S[i] is read before anything has been written there"
    assert str(caught.value).splitlines()[0] == f"{expected} (element 5)"


def test_without_the_sanitizer_nothing_is_checked(cache_dir):
    text = tilelang.compile(gather, target="c").get_kernel_source()
    assert "tl_check_index" not in text
    with env.scope(TILELANG_SANITIZE=True):
        assert "tl_check_index" in tilelang.compile(gather, target="c").get_kernel_source()


def test_a_compiler_that_hangs(other_compiler, tmp_path):
    real = toolchain.find_compiler_command()[0]
    waits = 'for a in "$@"; do [ "$a" = -shared ] && exec sleep 30; done'
    other_compiler.setenv("CC", str(executable(tmp_path / "cc", f'{waits}\nexec {real} "$@"')))
    toolchain.clear()
    started = time.monotonic()
    with env.scope(TILELANG_COMPILE_TIMEOUT_SECONDS=1), pytest.raises(ToolchainError) as caught:
        tilelang.compile(double, target="c")
    assert_located(caught.value, "tilelang.compile", None, "more than 1 seconds")
    assert time.monotonic() - started < 20
