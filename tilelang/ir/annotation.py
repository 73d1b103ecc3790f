"""Keys of loop, launch, attribute and allocation annotations: one constant, one meaning each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Loops
NUM_STAGES = "num_stages"  # int: versions of each buffer that copies may fill ahead (T.Pipelined)
PIPELINE_ORDER = "order"  # tuple[int, ...]: emission position per statement
PIPELINE_STAGE = "stage"  # tuple[int, ...]: stage per statement
PIPELINE_SYNC = "sync"  # tuple: accepted metadata
PIPELINE_GROUP = "group"  # tuple[tuple[int, ...], ...]: statements that move together
COALESCED_WIDTH = "coalesced_width"  # int: vector width wanted, in elements
LOOP_LAYOUT = "loop_layout"  # Fragment: which thread runs which iteration
PREFER_ASYNC = "prefer_async"  # bool: use cp.async for global -> shared stores in the loop
UNROLL_EXPLICIT = "explicit"  # bool: expanded by us rather than by the device compiler
UNROLL_FACTOR = "unroll_factor"  # int
REDUCTION = "reduction"  # tuple[tuple[str, Buffer], ...]: (operator, local.var) combined over lanes
TILE_OP = "tile_op"  # str: the tile operation that a T.Parallel nest was written for
THREAD_TAG = "thread"  # str: hardware index of a THREAD_BINDING loop, such as "threadIdx.x"

# Launch
PRELUDE = "prelude"  # str: source text in front of the device code
CLUSTER_DIMS = "cluster_dims"  # tuple[int, int, int]
ARENA_BYTES = "arena_bytes"  # int: scratch memory of one block (transform/plan_memory.py)

# Allocate
INIT = "init"  # Expr: constant initial value of a local.var
ARRIVE_COUNTS = "arrive_counts"  # tuple[int, ...]: arrivals that complete each barrier
REDUCER = "reducer"  # tuple[str, str]: operation, replication of a T.alloc_reducer
LAYOUT = "layout"  # Layout: physical place of each element
ARENA_OFFSET = "arena_offset"  # int: bytes from the start of the block's scratch memory
VERSIONS = "versions"  # int: slots along the first axis, from T.Pipelined
SHARES_ARENA = "shares_arena"  # bool: other buffers use the same bytes at other times

# Attr: `value` speaks of `body`
COLLECTIVE = "collective"  # bool: among thread code; all threads that reach it run it as one
ITERATION = "iteration"  # tuple[Expr, Expr]: number of a T.Parallel iteration, and of how many
IN_RANGE = "in_range"  # bool: accesses in the body lie inside their buffers; no guard is added
SAFE_VALUE = "safe_value"  # tuple[tuple[Buffer, Expr], ...]: what out-of-bounds reads deliver
LAYOUTS = "layouts"  # tuple[tuple[Buffer, Layout], ...]: user-chosen physical layouts
SWIZZLE = "use_swizzle"  # tuple[int, str]: panel size, order; block rasterisation for L2
PRODUCT_HEAD = "product_head"  # tuple[tuple[Buffer, int], ...]: slots that first loads fill
PRODUCT_LAST = "product_last"  # tuple[tuple[Buffer, int], ...]: slots that last instructions read
WARP_GROUPS = "warp_groups"  # tuple[int, ...]: only these warp groups run the body (T.ws)
L2_HIT_RATIO = "l2_hit_ratio"  # tuple[tuple[Buffer, float], ...]: persisting L2 window
MIN_BLOCKS_PER_SM = "min_blocks_per_sm"  # int
REGISTER_HINT = "register_hint"  # tuple[str, int]: register redistribution, no effect on values

# Explicit warp-specialisation plans (language/warp_schedule.py)
WS_SCHEDULE = "ws_schedule"  # WSSchedule
WS_ID = "ws_id"  # str: name of an operation or loop in the plan


def constants(module: Mapping[str, Any]) -> frozenset[str]:
    """The keys that a module names."""
    return frozenset(v for k, v in module.items() if k.isupper() and isinstance(v, str))


KNOWN = constants(dict(globals()))


def open_key(key: str, known: frozenset[str] = KNOWN) -> str:
    """`key` as a user gives it: one that means nothing here becomes `user.<key>`, and is kept."""
    return key if key in known or "." in key else f"user.{key}"
