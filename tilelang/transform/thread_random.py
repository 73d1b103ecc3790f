"""Random numbers of a thread come from a state of its own, made visible as private storage."""

from __future__ import annotations

from tilelang.ir.buffer import LOCAL, Buffer
from tilelang.ir.expr import HANDLE, BufferLoad, Call, Expr, as_expr
from tilelang.ir.node import replace
from tilelang.ir.stmt import Allocate, Stmt, seq
from tilelang.ir.visitor import Mutator, walk
from tilelang.transform.thread_grid import ThreadGrid

RANDOM_OPS = ("rng_init", "rng_rand", "rng_rand_float")
STATE_WORDS = 8  # of 64 bits: the size of `tl_rng` in device/scalar/philox.h


def with_random_state(body: Stmt, grid: ThreadGrid) -> Stmt:
    """`body`, where each operation on random numbers gets the address of the state it uses.

    rng_init(seed, tx, 0)   -->   rng_init(&rng_state[0], seed, tx, 0)
    """
    if grid.count == 1 or not any(_is_random(n) for n in walk(body)):
        return body
    state = Buffer("rng_state", (STATE_WORDS,), "uint64", LOCAL, span=body.span)
    return seq([Allocate(state, span=body.span), _WithState(state).mutate(body)])


def _is_random(node: object) -> bool:
    return isinstance(node, Call) and node.op in RANDOM_OPS


class _WithState(Mutator):
    def __init__(self, state: Buffer) -> None:
        self.address = Call("address_of", (BufferLoad(state, (as_expr(0),)),), HANDLE)

    def mutate_Call(self, node: Call) -> Expr:
        made = self.mutate_children(node)
        if not _is_random(made) or not isinstance(made, Call):
            return made
        return replace(made, args=(self.address, *made.args))
