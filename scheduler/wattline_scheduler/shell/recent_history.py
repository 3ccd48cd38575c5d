"""The last 15 minutes of every domain, node and GPU, in memory; lost at a restart.

A ring of columns each: one reading in every `HISTORY_STEP_S`, on the monotonic clock. Nodes are
read evenly over that time, so that no second has more to read than another.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wattline_protocol.ids import DomainId, NodeId, Now, UnixTime
from wattline_protocol.views.history_views import (
    HISTORY_S,
    HISTORY_STEP_S,
    GetHistory,
    History,
    Series,
    Subject,
)
from wattline_protocol.wire.client_messages import Denied
from wattline_scheduler.core.leases.measured_draw import all_draws, domain_draws, node_draw
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.not_found import not_there
from wattline_scheduler.core.model.state import State

STEPS = HISTORY_S // HISTORY_STEP_S
MW = 1000.0

NONE, TOP = 2**16 - 1, 2**16 - 2
"""Readings of GPUs take two bytes each: 0 to `TOP`; `NONE` stands for None."""
MW_PER_UNIT = 100
"""Their watts count tenths: up to 6.5 kW."""


class Columns(NamedTuple):
    """Kinds of readings of a subject."""

    names: tuple[str, ...]
    kind: type[np.float32] | type[np.uint16]
    units: tuple[float, ...]


DOMAIN = Columns(("measured_w", "committed_w", "budget_w"), np.float32, (1.0, 1.0, 1.0))
NODE = Columns(("drawn_w", "committed_w", "inlet_c", "cpu_pct"), np.float32, (1.0, 1.0, 1.0, 1.0))
GPU = Columns(
    ("power_w", "cap_w", "temp_c", "util_pct"),
    np.uint16,
    (MW_PER_UNIT / MW, MW_PER_UNIT / MW, 1.0, 1.0),
)

Values = tuple[float | None, ...]


class Ring:
    """The newest `STEPS` readings of some members, by column."""

    def __init__(self, columns: Columns, members: int) -> None:
        none = math.nan if columns.kind is np.float32 else NONE
        self._columns = columns
        self._slots = np.full(STEPS, -1, np.int32)
        """Step number of each reading."""
        self._values = np.full((STEPS, members, len(columns.names)), none, columns.kind)
        self.members = members

    def put(self, slot: int, rows: Sequence[Sequence[float]]) -> None:
        """The readings of step `slot`: a row for each member, as stored."""
        at = slot % STEPS
        self._slots[at] = slot
        self._values[at] = rows

    def get(self, slots: NDArray[np.int64], per_step: int, member: int) -> dict[str, Values]:
        """Columns of one member: means of each `per_step` of these slots."""
        at = slots % STEPS
        stored = self._values[at, member]
        is_none = np.isnan(stored) if self._columns.kind is np.float32 else stored == NONE
        is_none |= (self._slots[at] != slots)[:, None]
        read = np.where(is_none, math.nan, stored * np.array(self._columns.units))
        return dict(zip(self._columns.names, map(_listed, _means(read, per_step).T), strict=True))


def _means(read: NDArray[np.float64], per_step: int) -> NDArray[np.float64]:
    steps = read.reshape(-1, per_step, read.shape[1])
    is_read = ~np.isnan(steps)
    count = is_read.sum(axis=1)
    means = np.where(is_read, steps, 0.0).sum(axis=1) / np.maximum(count, 1)
    return np.where(count > 0, means, math.nan)


def _listed(values: NDArray[np.float64]) -> Values:
    return tuple(None if value != value else value for value in values.round(3).tolist())


class RecentHistory:
    """Rings of a site."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._domains: dict[DomainId, Ring] = {}
        self._nodes: dict[NodeId, Ring] = {}
        self._gpus: dict[NodeId, Ring] = {}
        self._order = list(state.nodes)
        self._slot = -1
        self._next = 0
        """Position of the node to be read next in this step."""

    def read(self, now: Now) -> None:
        """Read what is due: all domains at the start of a step, nodes evenly over it."""
        slot = _slot(now)
        if slot != self._slot:
            self._read_nodes(len(self._order))
            self._slot, self._next = slot, 0
            self._read_domains()
        passed_s = int(now.mono_s) - slot * HISTORY_STEP_S + 1
        self._read_nodes(len(self._order) * passed_s // HISTORY_STEP_S)

    def _read_domains(self) -> None:
        state = self._state
        for domain, measured_mw in domain_draws(state, all_draws(state)).items():
            committed_mw, budget_mw = (
                state.books.committed_in(domain),
                state.domains.budget_mw(domain),
            )
            row = (measured_mw / MW, committed_mw / MW, budget_mw / MW)
            self._domains.setdefault(domain, Ring(DOMAIN, 1)).put(self._slot, (row,))

    def _read_nodes(self, until: int) -> None:
        for name in self._order[self._next : until] if self._slot >= 0 else ():
            node = self._state.nodes[name]
            self._nodes.setdefault(name, Ring(NODE, 1)).put(self._slot, (self._node_row(node),))
            if node.gpus:
                self._gpu_ring(node).put(self._slot, _gpu_rows(node))
        self._next = max(self._next, until)

    def _gpu_ring(self, node: NodeNow) -> Ring:
        """A new one where the number of its GPUs has changed."""
        members = max(node.gpus) + 1
        ring = self._gpus.get(node.id)
        if ring is None or ring.members != members:
            ring = self._gpus[node.id] = Ring(GPU, members)
        return ring

    def _node_row(self, node: NodeNow) -> tuple[float, ...]:
        committed_mw = self._state.books.committed_mw(node.id)
        draw, beat = node_draw(node, committed_mw), node.beat
        if beat is None or not draw.is_heard:
            return math.nan, committed_mw / MW, math.nan, math.nan
        inlet_c = math.nan if beat.inlet_c is None else beat.inlet_c
        return draw.mw / MW, committed_mw / MW, inlet_c, beat.cpu_pct

    # --- answers --------------------------------------------------------------------------

    def answer(self, request: GetHistory, now: Now) -> History | Denied:
        """Readings of the subjects."""
        for subject in request.subjects:
            denied = self._unknown(subject)
            if denied is not None:
                return denied
        per_step = min(max(1, math.ceil(request.step_s / HISTORY_STEP_S)), STEPS)
        newest = _slot(now)
        unix_of_zero_s = now.unix_s - now.mono_s
        asked = math.floor((request.since_unix_s - unix_of_zero_s) / HISTORY_STEP_S)
        first = min(max(asked, newest - STEPS + 1, 0), newest) // per_step
        slots = np.arange(first * per_step, (newest // per_step + 1) * per_step)
        return History(
            since_unix_s=UnixTime(unix_of_zero_s + float(slots[0]) * HISTORY_STEP_S),
            step_s=per_step * HISTORY_STEP_S,
            series=tuple(
                Series(one, self._columns(one, slots, per_step)) for one in request.subjects
            ),
        )

    def _unknown(self, subject: Subject) -> Denied | None:
        if subject.kind == "domain":
            known: Iterable[str] = self._state.domains.by_id
        else:
            known = self._state.nodes
        if subject.name not in known:
            word = "domain" if subject.kind == "domain" else "node"
            return not_there(word, subject.name, list(known))
        if subject.kind == "gpu":
            gpus = sorted(self._state.nodes[NodeId(subject.name)].gpus)
            if subject.gpu not in gpus:
                has = f"has GPUs {gpus[0]} to {gpus[-1]}" if gpus else "has reported no GPU"
                return Denied("not_found", f"{subject.name} has no GPU {subject.gpu}; it {has}")
        return None

    def _columns(
        self, subject: Subject, slots: NDArray[np.int64], per_step: int
    ) -> dict[str, Values]:
        ring: Ring | None
        match subject.kind:
            case "domain":
                ring, columns = self._domains.get(DomainId(subject.name)), DOMAIN
            case "node":
                ring, columns = self._nodes.get(NodeId(subject.name)), NODE
            case "gpu":
                ring, columns = self._gpus.get(NodeId(subject.name)), GPU
        member = subject.gpu if subject.kind == "gpu" else 0
        if ring is None or member >= ring.members:
            ring, member = Ring(columns, 1), 0
        return ring.get(slots, per_step, member)


def _slot(now: Now) -> int:
    return int(now.mono_s // HISTORY_STEP_S)


def _gpu_rows(node: NodeNow) -> list[tuple[int, ...]]:
    beat = node.beat if node.is_reachable else None
    rows: list[tuple[int, ...]] = [(NONE,) * len(GPU.names)] * (max(node.gpus) + 1)
    for sample in () if beat is None else beat.gpus:
        if sample.index in node.gpus:
            rows[sample.index] = (
                NONE if sample.power_mw is None else min(sample.power_mw // MW_PER_UNIT, TOP),
                NONE if sample.cap_mw is None else min(sample.cap_mw // MW_PER_UNIT, TOP),
                NONE if sample.temp_c is None else min(max(sample.temp_c, 0), TOP),
                NONE if sample.util_pct is None else min(sample.util_pct, TOP),
            )
    return rows
