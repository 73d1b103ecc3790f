"""The static check: it names real races and barriers that never complete, and nothing else."""

from __future__ import annotations

import pytest

from tests.transform.test_insert_barriers import (
    BX,
    TX,
    S,
    at,
    barriers,
    context,
    do,
    get,
    kernel,
    put,
    shared,
    synced,
)
from tilelang.ir.buffer import Buffer
from tilelang.ir.stmt import Allocate, If, Seq
from tilelang.transform.check_barriers import RaceError, check_barriers
from tilelang.transform.insert_barriers import insert_barriers
from tilelang.transform.thread_regions import DivergenceError


def test_a_missing_wait_is_found() -> None:
    slots = shared("W", 64, 4)
    source = Buffer("A", (64, 4), "float32")
    copy = do("tl_cp_async_cg_16", at(slots, TX, 0), at(source, TX, 0))
    group = do("tl_cp_async_commit_group")
    wait = do("tl_cp_async_wait_group", 0)
    read = get(slots, TX, 1)
    good = kernel(Allocate(slots), copy, group, wait, read, params=(source,))
    assert not barriers(synced(good))
    for bad in ((copy, group, read), (copy, wait, group, read), (copy, group, group, read)):
        with pytest.raises(RaceError, match="before the copy has landed"):
            check_barriers(kernel(Allocate(slots), *bad, params=(source,)), context())


def test_the_check_names_what_the_user_forgot() -> None:
    func = kernel(Allocate(S), put(S, TX), get(S, 63 - TX))
    with pytest.raises(RaceError, match=r"`S` is read by another thread here"):
        check_barriers(func, context(disabled=True))


def test_the_check_is_silent_where_it_cannot_know() -> None:
    where = Buffer("Where", (64,), "int32")
    func = kernel(Allocate(S), put(S, where.load(TX)), get(S, TX), params=(where,))
    check_barriers(func, context(disabled=True))
    assert len(barriers(synced(func))) == 1


def test_a_race_among_some_threads_cannot_be_mended() -> None:
    func = kernel(Allocate(S), If(TX < 40, Seq((put(S, TX), get(S, 39 - TX)))))
    with pytest.raises(RaceError, match="race"):
        check_barriers(insert_barriers(func, context()), context())


def test_a_barrier_that_some_threads_do_not_reach() -> None:
    func = kernel(If(TX < 40, do("sync_threads")))
    with pytest.raises(DivergenceError, match="only some of them"):
        check_barriers(func, context())
    check_barriers(kernel(If(TX < 64, do("sync_threads"))), context())
    check_barriers(kernel(If(TX < 40, do("sync_threads", 1, 40))), context())
    check_barriers(kernel(If(BX < 1, do("sync_threads"))), context())
