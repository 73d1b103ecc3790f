"""What decides a compiled kernel, as named text, and the hash of it.

In: the facts of one compilation, from `jit`: printed tile IR, target row, pass configuration,
compiler identity, flags. Out: a `CacheKey`, the name of the entry in `cache.store`, and the parts
that `cache.explain` compares. The key is a function of its parts alone: no object ids, no times, no
build history. It reads no cache and compiles nothing.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from tilelang.env import env
from tilelang.errors import ConfigError

PACKAGE = Path(__file__).resolve().parent.parent
# Folders whose code cannot change what a compilation produces.
_NO_INFLUENCE = frozenset(
    ("autotuner", "cache", "carver", "profiler", "testing", "tools", "tvm", "__pycache__")
)
_SOURCE_SUFFIXES = (".py", ".h", ".c", ".cuh", ".cu")


@dataclass(frozen=True, slots=True)
class CacheKey:
    """The hash of a compilation's parts, and the parts.

    Attributes:
        digest: SHA-256, 64 hexadecimal digits; the name of the entry's folder.
        parts: name and text of every part, in the order in which they are hashed.
    """

    digest: str
    parts: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return self.digest

    def as_dict(self) -> dict[str, str]:
        """The parts by name."""
        return dict(self.parts)

    @classmethod
    def from_parts(cls, parts: Iterable[tuple[str, str]]) -> CacheKey:
        """Hash named texts."""
        listed = tuple((name, text) for name, text in parts)
        # JSON keeps the borders between names and texts, so no two lists share an encoding.
        encoded = json.dumps(listed, separators=(",", ":")).encode()
        return cls(hashlib.sha256(encoded).hexdigest(), listed)


def cache_key(
    *,
    ir: str,
    target: str,
    backend: str,
    compiler: str,
    headers: str,
    version: str,
    package: str,
    target_host: str | None = None,
    pass_configs: Mapping[Any, Any] | None = None,
    out_idx: Sequence[int] | int | None = None,
    flags: Sequence[str] = (),
) -> CacheKey:
    """The key of one compilation. What is not listed here may not influence the result.

    Args:
        ir: printed tile IR, from before the first pass.
        target: text of the target row: kind, architecture and features.
        backend: execution backend, which decides the host code.
        compiler: `Toolchain.identity()`: compiler, version, processor, default flags.
        headers: hash of the device headers that the generated text includes.
        version: `package_version()`.
        package: `package_digest()`.
        target_host: text of the host target, when it was given.
        pass_configs: pass configuration; keys are `PassConfigKey` members or their values.
        out_idx: positions of the parameters that the call allocates.
        flags: the user's own compiler flags, in order.

    Raises:
        ConfigError: when a configuration value has no text of its own (a function, an object).
    """
    key = CacheKey.from_parts(
        (
            ("ir", ir),
            ("target", target),
            ("target_host", stable_text(target_host)),
            ("pass_configs", stable_text(pass_configs or {})),
            ("out_idx", stable_text([out_idx] if isinstance(out_idx, int) else out_idx)),
            ("backend", backend),
            ("compiler", compiler),
            ("flags", stable_text(list(flags))),
            ("headers", headers),
            ("version", version),
            ("package", package),
        )
    )
    if env.TILELANG_DEBUG:
        print(describe(key), file=sys.stderr)
    return key


def describe(key: CacheKey) -> str:
    """One line per part; a long text is shown as its hash and size."""
    lines = [f"cache key {key.digest}"]
    for name, text in key.parts:
        if len(text) > 80 or "\n" in text:
            digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]
            text = f"{digest} ({len(text)} characters)"
        lines.append(f"  {name:<13} {text}")
    return "\n".join(lines)


def stable_text(value: Any) -> str:
    """JSON of a configuration value: equal values give equal text, in every process.

    Raises:
        ConfigError: for a value whose text would depend on the process (objects, functions).
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return _plain(value.value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (str, Path)):
        return str(value)
    if isinstance(value, Mapping):
        return {_mapping_key(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(item) for item in value), key=json.dumps)
    raise ConfigError(
        f"a pass configuration holds {value!r}, a {type(value).__name__}; "
        "expected numbers, text, lists and dictionaries of them"
    )


def _mapping_key(key: Any) -> str:
    text = key.value if isinstance(key, Enum) else key
    if not isinstance(text, str):
        raise ConfigError(f"a pass configuration has the key {key!r}; expected text")
    return str(text)


def package_version() -> str:
    """Version of this package."""
    # The parent package is loaded whenever this module is; its attribute costs nothing to read.
    found = vars(sys.modules[__name__.partition(".")[0]]).get("__version__")
    return str(found) if found else _installed_version()


@functools.lru_cache(maxsize=1)
def _installed_version() -> str:
    from importlib import metadata  # costs ten milliseconds to import; seldom needed

    try:
        return metadata.version("tilelang")
    except metadata.PackageNotFoundError:
        return "0+unknown"


@functools.lru_cache(maxsize=4)
def package_digest(folder: Path = PACKAGE) -> str:
    """Hash of the compiler's own source text, so that an edited compiler never finds old results.

    Contents are hashed, not times: the same source is the same compiler on every machine.
    """
    digest = hashlib.sha256()
    for name in sorted(_compiler_sources(str(folder))):
        with open(os.path.join(folder, name), "rb") as file:
            content = file.read()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:24]


def _compiler_sources(folder: str, within: str = "") -> Iterable[str]:
    """Names relative to the package; by `scandir`, which asks the system once per folder."""
    with os.scandir(folder) as children:
        for child in children:
            if child.is_dir():
                if child.name not in _NO_INFLUENCE:
                    yield from _compiler_sources(child.path, f"{within}{child.name}/")
            elif child.name.endswith(_SOURCE_SUFFIXES):
                yield within + child.name


def clear() -> None:
    """Forget the hashes of source text (for tests)."""
    package_digest.cache_clear()
    _installed_version.cache_clear()
