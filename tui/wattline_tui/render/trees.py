"""Power and cooling trees: a line a domain, foldable, those that bind first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wattline_protocol.ids import DomainId
from wattline_protocol.lists.limit_table import limit_line
from wattline_protocol.text.wording import counted, watts
from wattline_protocol.views.history_views import History
from wattline_protocol.views.site_views import DomainView
from wattline_tui.render.amounts import Unit, amount, short, unit_of
from wattline_tui.render.blocks import spark
from wattline_tui.render.lines import Line, Piece, Role, filled_to, fitted, left, line, right

MAX_DEPTH = 32
"""Deeper levels are indented no further."""

NAME_CELLS, NAME_CELLS_WIDE = 14, 22
FIGURE_CELLS = 7
SPARK_CELLS = 15
NOTE_CELLS, NOTE_CELLS_WIDE = 19, 30
HEADING_LINES = 1
LEGEND = "█ measured ▒ committed │ budget"
MIN_BAR_CELLS, MAX_BAR_CELLS = 8, 60
WIDE_FROM = 96


@dataclass(frozen=True, slots=True)
class TreeRow:
    """A domain in its tree."""

    domain: DomainView
    depth: int
    has_children: bool
    is_open: bool


@dataclass(frozen=True, slots=True)
class Tree:
    """What the user sees of the trees, beside the figures."""

    chosen: Mapping[DomainId, bool] = field(default_factory=dict)
    """Domains that the user has opened or closed."""
    cursor: DomainId | None = None
    """None: the panel has no focus."""
    first: int = 0
    """Row at the top."""


SPARK_STEP_S = 60


def shares_of(history: History) -> dict[DomainId, Sequence[float]]:
    """Measured power of domains as shares of their budgets; what was not read is 0."""
    found: dict[DomainId, Sequence[float]] = {}
    for series in history.series:
        measured, budgets = (series.columns.get(name, ()) for name in ("measured_w", "budget_w"))
        found[DomainId(series.subject.name)] = [
            (value or 0.0) / budget if budget else 0.0
            for value, budget in zip(measured, budgets, strict=False)
        ]
    return found


def is_over(domain: DomainView) -> bool:
    """More is committed or drawn than its budget permits."""
    return domain.headroom_w < 0 or domain.measured_w > domain.budget_w


def attention_rank(domain: DomainView) -> int:
    """0: over its budget; 1: it slows work; 2: neither. Not by headroom: rows must not jump."""
    return 0 if is_over(domain) else 1 if domain.binding is not None else 2


def tree_rows(
    domains: Sequence[DomainView], chosen: Mapping[DomainId, bool], height: int
) -> list[TreeRow]:
    """Both trees, power first. Without a choice of the user a domain is open where all fit in
    `height`, otherwise if one below it needs attention."""
    children: dict[DomainId | None, list[DomainView]] = {}
    known = {domain.id for domain in domains}
    for domain in domains:
        parent = domain.parent if domain.parent in known else None
        children.setdefault(parent, []).append(domain)
    opens = known if len(domains) <= height else _above_attention(domains)
    rows: list[TreeRow] = []
    seen = set[DomainId]()
    waiting = [(0, domain) for domain in reversed(_in_order(children.get(None, ())))]
    while waiting:
        depth, domain = waiting.pop()
        if domain.id in seen:
            continue
        seen.add(domain.id)
        below = children.get(domain.id, [])
        is_open = bool(below) and chosen.get(domain.id, domain.id in opens)
        rows.append(TreeRow(domain, depth, bool(below), is_open))
        if is_open:
            waiting += [(depth + 1, child) for child in reversed(_in_order(below))]
    return rows


def _in_order(domains: Sequence[DomainView]) -> list[DomainView]:
    return sorted(domains, key=lambda one: (one.kind == "cooling", attention_rank(one)))


def _above_attention(domains: Sequence[DomainView]) -> set[DomainId]:
    """Roots, and every domain above one that needs attention."""
    parents = {domain.id: domain.parent for domain in domains}
    found = {name for name, parent in parents.items() if parent is None}
    for domain in domains:
        above = domain.parent if attention_rank(domain) < 2 else None
        while above is not None and above not in found:
            found.add(above)
            above = parents.get(above)
    return found


def scrolled(first: int, at: int, height: int, count: int) -> int:
    """The row at the top that keeps row `at` in view."""
    lowest = max(0, at - height + 1)
    return max(0, min(max(first, lowest), at, max(0, count - height)))


def tree_lines(
    rows: Sequence[TreeRow],
    tree: Tree,
    sparks: Mapping[DomainId, Sequence[float]],
    now_s: float,
    width: int,
    height: int,
) -> list[Line]:
    """A heading, and the rows in view. `sparks`: measured power as a share of the budget, oldest
    first."""
    if not rows:
        return [fitted(line(("The site file has no domains.", "muted")), width)]
    unit = unit_of(row.domain for row in rows)
    shape = _shape(rows, width, has_history=any(sparks.values()))
    shown = rows[tree.first : tree.first + max(0, height - HEADING_LINES)]
    lines = (_row(row, tree, sparks.get(row.domain.id, ()), unit, now_s, shape) for row in shown)
    return [_heading(unit, shape), *lines]


def _heading(unit: Unit, shape: "_Shape") -> Line:
    figures = "".join(right(title, FIGURE_CELLS) for title in ("meas.", "comm.", "budget"))
    legend = LEGEND if len(LEGEND) <= shape.bar else ""
    texts = [left(unit, shape.name), left(legend, shape.bar), figures]
    texts += [left("15 min", shape.spark)] if shape.spark else []
    return filled_to(((" ".join(texts), "title"),), shape.width)


@dataclass(frozen=True, slots=True)
class _Shape:
    """Cells of each column."""

    width: int
    name: int
    bar: int
    spark: int
    note: int


def _shape(rows: Sequence[TreeRow], width: int, *, has_history: bool) -> _Shape:
    is_wide = width >= WIDE_FROM
    longest = max(_indent(row) + 2 + len(row.domain.id) for row in rows)
    name = min(longest, NAME_CELLS_WIDE if is_wide else NAME_CELLS)
    figures = 3 * FIGURE_CELLS
    spark_cells = SPARK_CELLS if is_wide else 8 if width >= 64 else 0
    spark_cells = spark_cells if has_history else 0
    rest = width - name - figures - 2 - (spark_cells + 1 if spark_cells else 0)
    note = NOTE_CELLS_WIDE if is_wide else NOTE_CELLS
    bar = min(MAX_BAR_CELLS, max(MIN_BAR_CELLS, rest - note))
    return _Shape(width, name, bar, spark_cells, max(0, rest - bar - 1))


def _indent(row: TreeRow) -> int:
    return min(row.depth, MAX_DEPTH)


def _row(
    row: TreeRow, tree: Tree, history: Sequence[float], unit: Unit, now_s: float, shape: _Shape
) -> Line:
    domain = row.domain
    alarm: Role = "over" if is_over(domain) else ""
    mark = ("▾ " if row.is_open else "▸ ") if row.has_children else "  "
    name_role: Role = "cursor" if domain.id == tree.cursor else alarm
    name = left(" " * _indent(row) + mark + domain.id, shape.name)
    pieces: list[Piece] = [(name, name_role), (" ", ""), *bar_of(domain, shape.bar), (" ", "")]
    pieces += [(_figures(domain, unit), alarm)]
    if shape.spark:
        drawn = spark(history, shape.spark, 1.0)
        pieces += [(" ", ""), (left(drawn, shape.spark), "measured")]
    if shape.note > 1:
        text, role = note_of(domain, now_s)
        pieces += [(" ", ""), (text, role)]
    return filled_to(tuple(pieces), shape.width)


def _figures(domain: DomainView, unit: Unit) -> str:
    committed_w = domain.committed_w + domain.reserved_w
    values = (domain.measured_w, committed_w, domain.budget_w)
    return "".join(right(amount(value_w, unit), FIGURE_CELLS) for value_w in values)


def bar_of(domain: DomainView, cells: int) -> list[Piece]:
    """`█` measured, `▒` committed beyond it, `·` free, `│` the budget in force; the whole is the
    budget without limits, or what is committed where that is more."""
    committed_w = domain.committed_w + domain.reserved_w
    whole_w = max(domain.full_budget_w, domain.budget_w, committed_w, domain.measured_w, 1.0)
    measured = _part(domain.measured_w, whole_w, cells)
    committed = max(measured, _part(committed_w, whole_w, cells))
    limit = min(cells - 1, max(0, _part(domain.budget_w, whole_w, cells) - 1))
    bar = "█" * measured + "▒" * (committed - measured) + "·" * (cells - committed)
    role: Role = "over" if is_over(domain) else "measured"
    bounds: list[tuple[int, int, Role]] = [
        (0, measured, role),
        (measured, committed, "committed"),
        (committed, cells, "free"),
    ]
    pieces: list[Piece] = []
    for start, end, of in bounds:
        if start <= limit < end:
            pieces += [(bar[start:limit], of), ("│", "limit"), (bar[limit + 1 : end], of)]
        else:
            pieces.append((bar[start:end], of))
    return [piece for piece in pieces if piece[0]]


def _part(value_w: float, whole_w: float, cells: int) -> int:
    return min(cells, max(0, round(value_w / whole_w * cells)))


def note_of(domain: DomainView, now_s: float) -> Piece:
    """The one fact about a domain that matters most now."""
    if is_over(domain):
        excess_w = max(-domain.headroom_w, domain.measured_w - domain.budget_w)
        since = domain.over_since_unix_s
        lasts = "" if since is None else f" for {short(now_s - since)}"
        return f"! {watts(excess_w, is_wanted=True)} over{lasts}", "over"
    if domain.binding is not None:
        return f"! limits {counted(domain.binding.jobs, 'job')}", "warning"
    limit = next((one for one in domain.limits if one.is_binding), None)
    if limit is not None:
        return f"▲ {limit_line(limit, now_s)}", "warning"
    plant = domain.plant
    if plant is not None and plant.inlet_c is not None:
        return f"{plant.inlet_c:.1f} °C, free {watts(domain.headroom_w)}", "muted"
    return f"free {watts(domain.headroom_w)}", "muted"
