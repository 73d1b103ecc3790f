"""Nanoseconds per argument of `FuncAnnot.parse_key`: best of several runs, hashing apart.

python bench/parse_key.py
"""

from __future__ import annotations

import inspect
import timeit
from collections.abc import Callable
from typing import Any

import torch

import tilelang.language.v2 as T
from tilelang.language.v2.dtypes import NAMED


def declare(**annotations: Any) -> T.FuncAnnot:
    """The annotations of a function with these parameters."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter(name, kind) for name in annotations])
    return T.FuncAnnot.from_sig_annots(signature, annotations)


def best_ns(call: Callable[[], Any], number: int = 20_000, repeat: int = 9) -> float:
    """Nanoseconds of one call."""
    return min(timeit.repeat(call, number=number, repeat=repeat)) / number * 1e9


def main() -> None:
    f16 = NAMED["float16"]
    x = torch.zeros(128, 64, dtype=torch.float16)
    cases: dict[str, tuple[T.FuncAnnot, tuple[Any, ...]]] = {
        "T.Tensor((128, 64), f16), complete": (
            declare(**{n: T.Tensor((128, 64), f16) for n in "abcd"}),
            (x,) * 4,
        ),
        "T.Tensor[[int, int], f16]": (
            declare(**{n: T.Tensor[[int, int], f16] for n in "abcd"}),
            (x,) * 4,
        ),
        "T.Tensor[[T.dyn, 64], f16]": (
            declare(**{n: T.Tensor[[T.dyn, 64], f16] for n in "abcd"}),
            (x,) * 4,
        ),
        "T.Tensor, nothing known": (declare(**dict.fromkeys("abcd", T.Tensor)), (x,) * 4),
        "T.StridedTensor[[int, int], [int, int], f16]": (
            declare(**{n: T.StridedTensor[[int, int], [int, int], f16] for n in "abcd"}),
            (x,) * 4,
        ),
        "T.int32": (declare(**dict.fromkeys("abcd", NAMED["int32"])), (1, 2, 3, 4)),
        "constant int": (declare(**dict.fromkeys("abcd", int)), (1, 2, 3, 4)),
        "constant float": (declare(**dict.fromkeys("abcd", float)), (1.5, 2.5, 3.5, 4.5)),
    }
    titles = ("positional", "keywords", "function", "hash")
    print(f"{'ns per argument':48s}" + "".join(f"{title:>11s}" for title in titles))
    for name, (annot, args) in cases.items():
        named = dict(zip("abcd", args))
        key = annot.parse_key(*args)
        columns = (
            best_ns(lambda a=annot, v=args: a.parse_key(*v)) / len(args),
            best_ns(lambda a=annot, v=named: a.parse_key(**v)) / len(args),
            best_ns(lambda f=annot.key_function, v=args: f(*v)) / len(args),
            best_ns(lambda k=key: hash(k)) / len(args),
        )
        print(f"{name:48s}" + "".join(f"{column:11.0f}" for column in columns))


if __name__ == "__main__":
    main()
