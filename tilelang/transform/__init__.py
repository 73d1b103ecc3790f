"""Tile IR to thread IR: a file per pass, their order in `pipeline.py`, options in `config.py`."""

from tilelang.transform.config import PassConfigKey
from tilelang.transform.context import PassContext

__all__ = ["PassConfigKey", "PassContext"]
