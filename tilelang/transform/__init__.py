"""Tile IR to thread IR: one file per pass, their order in `pipeline.py`, their options in `config.py`."""

from tilelang.transform.config import PassConfigKey
from tilelang.transform.context import PassContext

__all__ = ["PassConfigKey", "PassContext"]
