"""Pass configuration as programs give it."""

from __future__ import annotations

import pytest

from tilelang.errors import ConfigError
from tilelang.transform.config import PassConfigKey, normalize, option


@pytest.mark.parametrize("value", [True, {}, {"enable_simplify_let_inline": False}])
def test_simplify_takes_the_options_of_the_reference(value):
    configs = normalize({"tl.Simplify": value})
    assert option(configs, PassConfigKey.TL_SIMPLIFY) is True


def test_other_switches_take_no_dict():
    with pytest.raises(ConfigError, match="expected True or False"):
        normalize({"tl.enable_fast_math": {}})
