"""Second names of fragments (`T.reshape`, `T.view`): they hold their elements where the first do.

In: the body of a launch; a fragment and the shape of another name. Out: which names belong
together, and the fragment of the other name. Asked by `infer_fragments` and `lower_threads`;
decides no layout.
"""

from __future__ import annotations

from collections.abc import Iterable

from tilelang.errors import LayoutError, Note
from tilelang.ir.buffer import FRAGMENT, Buffer, format_shape
from tilelang.ir.stmt import Stmt
from tilelang.ir.visitor import used_buffers
from tilelang.layout.blocked import BlockedFragment
from tilelang.layout.fragment import Fragment
from tilelang.layout.holding import fragment_of_tables
from tilelang.layout.layout import static_shape


def fragment_names(body: Stmt, allocated: Iterable[Buffer]) -> dict[Buffer, Buffer]:
    """View -> the allocated fragment whose registers it names.

    Raises:
        LayoutError: for a view with elements of another size.
    """
    owners = {buffer.data: buffer for buffer in allocated}
    found: dict[Buffer, Buffer] = {}
    for buffer in used_buffers(body):
        owner = owners.get(buffer.data)
        if buffer.scope() != FRAGMENT or owner is None or owner is buffer:
            continue
        if buffer.dtype.bits != owner.dtype.bits:
            raise LayoutError(
                f"view: `{buffer.name}` has elements of {buffer.dtype.bits} bits, but those of the "
                f"fragment `{owner.name}` have {owner.dtype.bits}: threads hold whole elements",
                buffer.span,
                notes=[Note(owner.span, f"`{owner.name}` comes from here")] if owner.span else [],
                hint=f"view a shared buffer, or T.copy `{owner.name}` into a fragment of its own",
            )
        found[buffer] = owner
    return found


def viewed(layout: Fragment, of: Buffer, view: Buffer) -> Fragment:
    """The fragment of `view` where `of`, another name for the same elements, has `layout`.

    Raises:
        LayoutError: when it has no closed form.
    """
    shape = static_shape(view.shape)
    owners = layout.thread_table.reshape(*shape, layout.num_replicas)
    places = layout.offsets.reshape(shape)
    made: Fragment | None = None
    if isinstance(layout, BlockedFragment):
        made = BlockedFragment(shape, layout.threads, layout.vector)
        same = (made.offsets == places).all() and (made.thread_table == owners).all()
        made = made if same and shape[-1] % layout.vector == 0 else None
    made = made or fragment_of_tables(shape, owners, places)
    if made is None:
        raise LayoutError(
            f"view: `{view.name}`, {format_shape(view.shape)}, cannot hold its elements where "
            f"`{of.name}`, {format_shape(of.shape)}, has them: {layout}",
            view.span,
            hint=f"T.copy `{of.name}` into a fragment of its own",
        )
    return made
