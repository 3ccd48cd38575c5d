"""The fleet as racks: a cell a GPU where all fit, otherwise a summary a rack.

A mark stands for what matters more than the figure: `×` lost, `!` hot or with a foreign process,
`▾` limited by its power cap, `?` unknown.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import is_
from typing import Literal
from zlib import crc32

from rich.cells import cell_len

from wattline_protocol.ids import JobId
from wattline_protocol.lists.node_table import free
from wattline_protocol.text.visible import visible_line
from wattline_protocol.text.wording import many, watts
from wattline_protocol.views.site_views import GpuView, JobView, NodeView
from wattline_tui.listing.names import natural
from wattline_tui.model import heat_level
from wattline_tui.render.lines import (
    Line,
    Piece,
    Role,
    filled_to,
    fitted,
    left,
    line,
    right,
)
from wattline_tui.units import is_capped, is_hot

Key = Literal["power", "temperature", "utilisation", "owner", "health"]
KEYS: tuple[Key, ...] = ("power", "temperature", "utilisation", "owner", "health")

LEGENDS: Mapping[Key, str] = {
    "power": "power of its maximum",
    "temperature": "35-85 °C",
    "utilisation": "utilisation 0-100 %",
    "owner": "first letter of its owner, · free",
    "health": "█ ok",
}
SHADES = "·░▒▓█"
HEAT: tuple[Role, ...] = ("heat-0", "heat-1", "heat-2", "heat-3", "heat-4")
OWNERS: tuple[Role, ...] = ("owner-0", "owner-1", "owner-2", "owner-3", "owner-4", "owner-5")
MARKS_TEXT = "▾ capped, ! problem, × lost, ? unknown"

GAP_CELLS = 2
"""Between two racks on one line."""
SUMMARY_BAR_CELLS = 10
MAX_LABEL_CELLS = 12
MIN_RACK_CELLS = 30
"""A narrower rack would have no room for its figures."""


@dataclass(frozen=True, slots=True, eq=False)
class Rack:
    """Nodes of one rack, by name, and what is counted of them. The same object for as long as none
    of its nodes changes."""

    name: str
    nodes: tuple[NodeView, ...]
    draw_w: float
    gpus: int
    busy: int
    """GPUs with a job."""
    free: int
    """GPUs without a job on nodes that take work."""
    drained: int
    """Those without a job on nodes that take none any more."""
    widest: int
    """GPUs of its largest node."""
    problems: int
    """Nodes that do not take work for a reason of their own, and GPUs that need attention."""
    tail: str
    """Its figures in words."""


def racks_of(nodes: Iterable[NodeView], before: Sequence[Rack] = ()) -> list[Rack]:
    """By name. `before`: those of the picture before, of which most are the same."""
    by_rack: dict[str, list[NodeView]] = {}
    for node in nodes:
        by_rack.setdefault(node.rack, []).append(node)
    known = {rack.name: rack for rack in before}
    return [_rack(name, by_rack[name], known.get(name)) for name in sorted(by_rack, key=natural)]


def _rack(name: str, nodes: list[NodeView], known: Rack | None) -> Rack:
    nodes.sort(key=lambda node: natural(node.id))
    if known is not None and len(known.nodes) == len(nodes) and all(map(is_, known.nodes, nodes)):
        return known
    draw_w = sum(draw_of(node) for node in nodes)
    free = sum(free_of(node) for node in nodes)
    problems = sum(_problems(node) for node in nodes)
    bad = f" !{problems}" if problems else ""
    return Rack(
        name=name,
        nodes=tuple(nodes),
        draw_w=draw_w,
        gpus=sum(gpus_of(node) for node in nodes),
        busy=sum(node.gpus_busy for node in nodes),
        free=free,
        drained=sum(
            gpus_of(node) - node.gpus_busy
            for node in nodes
            if node.state in ("draining", "drained")
        ),
        widest=max(gpus_of(node) for node in nodes),
        problems=problems,
        tail=f"{watts(draw_w)} {free} free{bad}",
    )


def draw_of(node: NodeView) -> float:
    """Measured, or as the scheduler estimates it."""
    return node.estimated_w if node.measured_w is None else node.measured_w


def gpus_of(node: NodeView) -> int:
    """Also of a site that is too large to list them."""
    return node.gpu_count or len(node.gpus)


def free_of(node: NodeView) -> int:
    """GPUs on which a job may start."""
    if node.state != "ok":
        return 0
    if not node.gpus:
        return free(node)
    return sum(map(_is_free, node.gpus))


def _is_free(gpu: GpuView) -> bool:
    return gpu.healthy and gpu.job is None and not gpu.foreign and not gpu.is_cordoned


def _problems(node: NodeView) -> int:
    if node.state not in ("ok", "draining", "drained", "off"):
        return 1
    return sum(needs_attention(gpu) for gpu in node.gpus)


def needs_attention(gpu: GpuView) -> bool:
    """Lost, slowed by heat, or used by a process of no job."""
    return not gpu.healthy or is_hot(gpu) or bool(gpu.foreign)


def owners_of(jobs: Iterable[JobView]) -> dict[JobId, str]:
    """The owner of each job that is listed."""
    return {job.id: job.owner for job in jobs}


Cell = Callable[[GpuView], Piece]


def cell_by(key: Key, owners: Mapping[JobId, str]) -> Cell:
    """What the cell of a GPU shows."""
    if key == "owner":
        return lambda gpu: _owner_cell(gpu, owners)
    if key == "health":
        return lambda gpu: _mark(gpu) or ("█", "heat-2")
    if key == "utilisation":
        return lambda gpu: _mark(gpu, with_caps=False) or _shade(_level(gpu.util_pct, 0.0, 100.0))
    if key == "temperature":
        return lambda gpu: (
            _mark(gpu, with_caps=False)
            or _shade(None if gpu.temp_c is None else heat_level(gpu, by_temperature=True))
        )
    return lambda gpu: (
        _mark(gpu) or _shade(None if gpu.power_w is None else heat_level(gpu, by_temperature=False))
    )


def _mark(gpu: GpuView, *, with_caps: bool = True) -> Piece | None:
    if not gpu.healthy:
        return "×", "alarm"
    if needs_attention(gpu):
        return "!", "alarm"
    return ("▾", "warning") if with_caps and is_capped(gpu) else None


def _shade(level: int | None) -> Piece:
    return ("?", "muted") if level is None else (SHADES[level], HEAT[level])


def _level(value: float | None, low: float, high: float) -> int | None:
    return None if value is None else min(4, max(0, int((value - low) / (high - low) * 5)))


def _owner_cell(gpu: GpuView, owners: Mapping[JobId, str]) -> Piece:
    if not gpu.healthy:
        return "×", "alarm"
    if gpu.job is None:
        return ("!", "alarm") if gpu.foreign else _idle(gpu)
    owner = owners.get(gpu.job)
    return ("?", "muted") if owner is None else (_initial(owner), owner_role(owner))


def _idle(gpu: GpuView) -> Piece:
    return ("⊘" if gpu.is_cordoned else "·", "muted")


def _initial(owner: str) -> str:
    letter = visible_line(owner)[:1] or "?"
    return letter if cell_len(letter) == 1 else "?"


def owner_role(owner: str) -> Role:
    """The same colour for a user at any time."""
    return OWNERS[crc32(owner.encode("utf-8", "surrogatepass")) % len(OWNERS)]


def cells_of(node: NodeView, cell: Cell) -> list[Piece]:
    """A cell a GPU. Of a node that is not heard no figure counts."""
    if node.state in ("silent", "never heard", "off", "quarantined"):
        mark: Piece = ("×", "alarm") if node.state in ("silent", "quarantined") else ("-", "muted")
        return [mark] * gpus_of(node)
    if node.gpus:
        return [cell(gpu) for gpu in node.gpus]
    idle = max(0, node.gpu_count - node.gpus_busy)
    in_use: Piece = ("█", "heat-2")
    unused: Piece = ("·", "muted")
    return [in_use] * min(node.gpu_count, node.gpus_busy) + [unused] * idle


@dataclass(frozen=True, slots=True)
class Layout:
    """How racks are laid out: blocks of some lines, in columns."""

    kind: Literal["nodes", "dense", "summary"]
    columns: int
    cells: int
    """Of one block, without the gap to the next."""
    lines: int
    """Of one block."""
    nodes: int
    """Nodes on one line of a block."""
    label: int
    tail: int
    """Cells of its figures, on the first line; 0 = none."""

    @property
    def gap(self) -> int:
        """Cells between two nodes."""
        return 1 if self.kind == "nodes" else 0


def layout_of(racks: Sequence[Rack], width: int, height: int) -> Layout:
    """The richest one in which all racks fit; otherwise a summary a rack, which may scroll."""
    label = max((cell_len(visible_line(rack.name)) for rack in racks), default=0)
    label = min(MAX_LABEL_CELLS, label)
    tail = max((cell_len(rack.tail) for rack in racks), default=0)
    for kind, figures in (("nodes", tail), ("dense", tail), ("dense", 0)):
        gap = 1 if kind == "nodes" else 0
        for lines, nodes, cells in _folds(racks, gap):
            block = label + 1 + cells + (figures + 1 if figures else 0)
            columns = (width + GAP_CELLS) // (block + GAP_CELLS)
            if columns and -(-len(racks) // columns) * lines <= height:
                known: Literal["nodes", "dense"] = "nodes" if gap else "dense"
                columns = max(1, min(columns, -(-len(racks) * lines // max(1, height))))
                return Layout(known, columns, block, lines, nodes, label, figures)
    least = min(width, max(MIN_RACK_CELLS, label + 1 + SUMMARY_BAR_CELLS + 1 + tail))
    most = max(1, (width + GAP_CELLS) // (least + GAP_CELLS))
    columns = max(1, min(most, -(-len(racks) // max(1, height))))  # fewer: longer bars
    return Layout("summary", columns, (width + GAP_CELLS) // columns - GAP_CELLS, 1, 0, label, tail)


def _folds(racks: Sequence[Rack], gap: int) -> Iterator[tuple[int, int, int]]:
    """Lines of a block, nodes on one of them, and its cells: from one line to one node a line."""
    most = max((len(rack.nodes) for rack in racks), default=1)
    widest = max((rack.widest for rack in racks), default=0)
    for nodes in dict.fromkeys(-(-most // lines) for lines in range(1, most + 1)):
        yield -(-most // nodes), nodes, nodes * (widest + gap) - gap


Block = Callable[[Rack, Cell, Layout], Sequence[Line]]
"""The lines of one rack."""


class Blocks:
    """The lines of the racks that were drawn last: of those that have not changed they are the
    same."""

    def __init__(self) -> None:
        self._of: tuple[object, Layout] | None = None
        self._before: dict[Rack, Sequence[Line]] = {}
        self._now: dict[Rack, Sequence[Line]] = {}

    def begin(self, what: object, layout: Layout) -> None:
        """Of another figure or layout nothing is the same."""
        self._before = self._now if self._of == (what, layout) else {}
        self._of, self._now = (what, layout), {}

    def lines(self, rack: Rack, cell: Cell, layout: Layout) -> Sequence[Line]:
        """As of `block_lines`."""
        known = self._before.get(rack)
        if known is None:
            known = block_lines(rack, cell, layout)
        self._now[rack] = known
        return known


def fleet_lines(
    racks: Sequence[Rack],
    cell: Cell,
    width: int,
    height: int,
    start: int = 0,
    *,
    block: Block | None = None,
) -> list[Line]:
    """The lines from `start` on, racks column by column, so that neighbours stand together.
    `block`: lines of a rack, if they are known already."""
    block = block or block_lines
    if not racks:
        return [_no_nodes(width)]
    layout = layout_of(racks, width, height)
    rows = -(-len(racks) // layout.columns)
    shown: list[Line] = []
    for row in range(start // layout.lines, rows):
        if len(shown) >= height + start % layout.lines:
            break
        blocks = [block(racks[at], cell, layout) for at in range(row, len(racks), rows)]
        shown += [fitted(_joined(parts), width) for parts in zip(*blocks, strict=True)]
    return shown[start % layout.lines :][:height]


def _no_nodes(width: int) -> Line:
    """In place of racks."""
    return fitted(line(("The site file has no nodes.", "muted")), width)


def _joined(parts: Sequence[Line]) -> Line:
    pieces = list(parts[0])
    for part in parts[1:]:
        pieces += [(" " * GAP_CELLS, ""), *part]
    return tuple(pieces)


def fleet_height(racks: Sequence[Rack], layout: Layout) -> int:
    """Lines of all racks."""
    return -(-len(racks) // layout.columns) * layout.lines


def block_lines(rack: Rack, cell: Cell, layout: Layout) -> list[Line]:
    """The lines of one rack, as wide as its block."""
    room = layout.cells - layout.label - 1 - (layout.tail + 1 if layout.tail else 0)
    label: Piece = (left(rack.name, layout.label) + " ", "muted")
    if layout.kind == "summary":
        cells = [piece for node in rack.nodes for piece in cells_of(node, cell)]
        lines = [tuple(summary_bar(cells, room))]
    else:
        lines = [_nodes_line(rack, cell, layout, number) for number in range(layout.lines)]
    head: Line = (label, *filled_to(lines[0], room))
    if layout.tail:
        role: Role = "alarm" if rack.problems else "muted"
        head = (*head, (" " + right(rack.tail, layout.tail), role))
    indent: Piece = (" " * (layout.label + 1), "")
    block = [head, *((indent, *one) for one in lines[1:])]
    return [filled_to(one, layout.cells) for one in block]


def _nodes_line(rack: Rack, cell: Cell, layout: Layout, number: int) -> Line:
    pieces: list[Piece] = []
    first_node = number * layout.nodes
    for at, node in enumerate(rack.nodes[first_node : first_node + layout.nodes]):
        pieces += [(" ", "")] if at and layout.gap else []
        pieces += cells_of(node, cell)
    return tuple(pieces)


def summary_bar(cells: Sequence[Piece], width: int) -> list[Piece]:
    """As many cells of each kind as there are among all, rarest marks kept, brightest first."""
    if not cells or width <= 0:
        return []
    counts: dict[Piece, int] = {}
    for one in cells:
        counts[one] = counts.get(one, 0) + 1
    kinds = sorted(counts, key=_brightness)
    parts = {kind: max(1, counts[kind] * width // len(cells)) for kind in kinds}
    while sum(parts.values()) > width and len(parts) > 1:
        largest = max(parts, key=lambda kind: parts[kind])
        if parts[largest] > 1:
            parts[largest] -= 1
        else:
            del parts[min(parts, key=lambda kind: counts[kind])]
    largest = max(parts, key=lambda kind: counts[kind])
    parts[largest] += width - sum(parts.values())
    return [(text * parts[text, role], role) for text, role in kinds if (text, role) in parts]


_ORDER = "×!▾█▓▒░·?-"


def _brightness(piece: Piece) -> tuple[int, str]:
    text = piece[0]
    return (_ORDER.index(text) if text in _ORDER else len(_ORDER), text)


def totals(racks: Sequence[Rack]) -> str:
    """`8,000 GPUs: 6,912 busy, 1,024 idle, 61 drained, 3 lost`."""
    gpus = sum(rack.gpus for rack in racks)
    busy = sum(rack.busy for rack in racks)
    free = sum(rack.free for rack in racks)
    draining = sum(rack.drained for rack in racks)
    other = max(0, gpus - busy - free - draining)
    parts = [f"{busy:,} busy", f"{free:,} idle"]
    parts += [f"{draining:,} drained"] if draining else []
    parts += [f"{other:,} unavailable"] if other else []
    return f"{many(gpus, 'GPU')}: {', '.join(parts)}"


def overview_line(racks: Sequence[Rack], key: Key, cell: Cell, width: int) -> Line:
    """The whole fleet on one line of a small screen, after the name of what cells show."""
    if not racks:
        return _no_nodes(width)
    text = totals(racks)
    name = f"{key}  "
    spare = min(20, width - len(name) - cell_len(text) - 1)
    cells = [piece for rack in racks for node in rack.nodes for piece in cells_of(node, cell)]
    bar = summary_bar(cells, spare)
    return fitted(((name, "muted"), *bar, (" " if bar else "", ""), (text, "")), width)


def fleet_title(racks: Sequence[Rack], key: Key, layout: Layout) -> tuple[str, str]:
    """Title and subtitle of the panel."""
    title = f"fleet: {totals(racks)}"
    what = "racks, share of GPUs" if layout.kind == "summary" else "a cell per GPU"
    shades = f"{SHADES} " if key in ("power", "temperature", "utilisation") else ""
    return title, f"{what}: {shades}{LEGENDS[key]}; {MARKS_TEXT}"
