"""A planning cycle as data in a file: its snapshot, memory and limits, and the plan it made.

`wattline plan --save` writes one and `--snapshot` plans it again: how a strange placement is
reported and reproduced. Columns are not saved; they follow from the offers, the headroom of the
rows, and the order in which GPU classes were first seen.
"""

import zlib
from dataclasses import dataclass, replace
from typing import Any, get_args

import msgspec
import numpy as np

from wattline_protocol.ids import Instant, NodeId
from wattline_protocol.site.model import Weights
from wattline_scheduler.plan.cycle import Cycle, Limits
from wattline_scheduler.plan.mix.fragmentation import Prices
from wattline_scheduler.plan.model.column_writer import put_node, put_places
from wattline_scheduler.plan.model.columns import Columns, GpuClasses
from wattline_scheduler.plan.model.device_classes import MigDevice
from wattline_scheduler.plan.model.memory import EMPTY, Memory
from wattline_scheduler.plan.model.reserved_nodes import Reservations, Span
from wattline_scheduler.plan.model.shape import GangKey, Waiting
from wattline_scheduler.plan.model.snapshot import (
    NodeOffer,
    Part,
    Plan,
    QuotaHeadroom,
    RowName,
    RunningGang,
    Snapshot,
)
from wattline_scheduler.power.topology.matrix import Bools
from wattline_scheduler.time_slices import Parts

NODES_PER_PART, JOBS_PER_PART, BYTES_PER_PART = 50, 500, 1 << 18
"""Encoded or compressed per part of an answer."""

MAX_FILE_BYTES = 256 * 1024 * 1024
"""Decoded; a site of 12,500 nodes takes a third of it."""


FORMAT = "wattline-cycle-1"


class NoCycle(ValueError):
    """The file is not a saved cycle; the text says why."""


# A whole GPU is read as a device without a profile, which is the same to the planner.
@dataclass(frozen=True, slots=True)
class _Part(Part):
    gpu: MigDevice


@dataclass(frozen=True, slots=True)
class _Offer(NodeOffer):
    gpus: tuple[MigDevice, ...]
    free: tuple[MigDevice, ...]
    parts: tuple[_Part, ...] = ()


class _Array(msgspec.Struct, frozen=True):
    """An array of numbers; the annotation of its field is its type."""

    shape: tuple[int, ...]
    data: bytes


def _saved_array(value: object) -> _Array:
    if isinstance(value, np.ndarray):
        return _Array(value.shape, value.tobytes())
    raise NotImplementedError


def _loaded_array(form: Any, value: object) -> np.ndarray[Any, Any]:
    saved, (_, kind) = msgspec.convert(value, _Array), get_args(form)
    return np.frombuffer(saved.data, *get_args(kind)).reshape(saved.shape)


class _Reserved(msgspec.Struct, frozen=True):
    unix_s: float
    spans: tuple[Span, ...]


class _Format(msgspec.Struct, frozen=True):
    """What is read of a file of any version."""

    format: str


class _Saved(msgspec.Struct, frozen=True):
    """The file's content, MessagePack compressed with zlib."""

    format: str
    now: float
    nodes: tuple[_Offer, ...]
    groups: tuple[tuple[tuple[int, int], ...], ...]
    """Rows above the nodes of a group, with permille."""
    group: tuple[int, ...]
    """[node]"""
    classes: tuple[MigDevice, ...]
    """One GPU of each class, in the order of their numbers."""
    rows: tuple[RowName, ...]
    headroom_mw: tuple[int, ...]
    budget_mw: tuple[int, ...]
    yields_mw: tuple[tuple[int, int, int], ...]
    """Row, priority, and the watts that its work releases to higher ones."""
    waiting: tuple[Waiting, ...]
    claims: dict[GangKey, tuple[NodeId, ...]]
    gangs: tuple[RunningGang, ...]
    gangs_on: tuple[tuple[int, ...], ...]
    """[node] positions in `gangs`; empty = not collected."""
    preempts_protected: bool
    least_priority: int
    weights: Weights
    quotas: tuple[QuotaHeadroom, ...]
    reserved: _Reserved | None
    prices: Prices | None
    memory: Memory
    limits: Limits
    plan: Plan
    data: dict[str, tuple[int, ...]] = {}
    """By version of a data set, positions of the nodes that have it."""


def encoded(cycle: Cycle) -> Parts[bytes]:
    """The content of the file."""
    encoder, packer = msgspec.msgpack.Encoder(enc_hook=_saved_array), zlib.compressobj(1)
    nodes: list[msgspec.Raw] = []
    for start in range(0, len(cycle.snapshot.nodes), NODES_PER_PART):
        some = cycle.snapshot.nodes[start : start + NODES_PER_PART]
        nodes += [msgspec.Raw(encoder.encode(offer)) for offer in some]
        yield
    waiting: list[msgspec.Raw] = []
    for start in range(0, len(cycle.snapshot.waiting), JOBS_PER_PART):
        jobs = cycle.snapshot.waiting[start : start + JOBS_PER_PART]
        waiting += [msgspec.Raw(encoder.encode(each)) for each in jobs]
        yield
    fields = {**_without_lists(cycle), "nodes": nodes, "waiting": waiting}
    whole, found = memoryview(encoder.encode(fields)), list[bytes]()
    for start in range(0, len(whole), BYTES_PER_PART):
        yield
        found.append(packer.compress(whole[start : start + BYTES_PER_PART]))
    return b"".join((*found, packer.flush()))


def _without_lists(cycle: Cycle) -> dict[str, Any]:
    """Everything but nodes and waiting jobs."""
    seen, columns, reserved = cycle.snapshot, cycle.snapshot.columns, cycle.snapshot.reservations
    keys: dict[GangKey, int] = {}
    gangs: list[RunningGang] = []
    for one in (one for on_node in seen.running for one in on_node):
        if one.key not in keys:
            keys[one.key] = len(gangs)
            gangs.append(one)
    return {
        "format": FORMAT,
        "now": seen.now,
        "groups": _groups(columns),
        "group": columns.group.tolist(),
        "classes": columns.classes.examples[1:],
        "rows": seen.rows,
        "headroom_mw": columns.headroom_mw[:-1].tolist(),
        "budget_mw": columns.budget_mw[:-1].tolist(),
        "yields_mw": [
            (row, priority, int(columns.yields_mw[row, priority]))
            for row, priority in np.argwhere(columns.yields_mw[:-1]).tolist()
        ],
        "claims": seen.claims,
        "gangs": gangs,
        "gangs_on": [[keys[one.key] for one in on_node] for on_node in seen.running],
        "preempts_protected": seen.preempts_protected,
        "least_priority": seen.least_priority,
        "weights": seen.weights,
        "quotas": seen.quotas,
        "reserved": reserved and _Reserved(reserved.unix_s, tuple(reserved.spans)),
        "data": {name: np.flatnonzero(has_it).tolist() for name, has_it in seen.data.items()},
        "prices": seen.prices,
        "memory": cycle.memory,
        "limits": cycle.limits,
        "plan": replace(cycle.plan, memory=EMPTY),
    }


def _groups(columns: Columns) -> list[list[tuple[int, int]]]:
    row_count = len(columns.headroom_mw) - 1
    groups = zip(columns.group_rows.T.tolist(), columns.group_share.T.tolist(), strict=True)
    above = (zip(rows, shares, strict=True) for rows, shares in groups)
    return [[(row, share) for row, share in pairs if row < row_count] for pairs in above]


def decoded(data: bytes) -> Cycle:
    """The cycle that a file holds. Raises NoCycle."""
    try:
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(data, MAX_FILE_BYTES)
        if unpacker.unconsumed_tail or unpacker.unused_data or not unpacker.eof:
            raise NoCycle("it is cut off, or larger than any cycle")
        found = msgspec.msgpack.decode(content, type=_Format).format
        if found != FORMAT:
            raise NoCycle(f"its format is {found[:40]!r}; this version reads {FORMAT!r}")
        saved = msgspec.msgpack.decode(content, type=_Saved, dec_hook=_loaded_array)
        return Cycle(_snapshot(saved), saved.memory, saved.limits, saved.plan)
    except (zlib.error, msgspec.MsgspecError, ValueError, LookupError, ArithmeticError) as error:
        raise NoCycle(str(error)) from error


def _snapshot(saved: _Saved) -> Snapshot:
    per_node = {len(saved.nodes), len(saved.group), len(saved.gangs_on or saved.nodes)}
    per_row = {len(saved.rows), len(saved.headroom_mw), len(saved.budget_mw)}
    if len(per_node) > 1 or len(per_row) > 1:
        raise NoCycle("its lists of nodes or rows differ in length")
    columns = _columns(saved)
    if not saved.gangs_on:
        running: tuple[tuple[RunningGang, ...], ...] = ()
    else:
        running = tuple(tuple(saved.gangs[at] for at in on_node) for on_node in saved.gangs_on)
    held, reservations = saved.reserved, None
    if held is not None:
        reservations = Reservations(held.spans, len(saved.nodes), held.unix_s)
    return Snapshot(
        now=Instant(saved.now),
        nodes=saved.nodes,
        position={offer.node: at for at, offer in enumerate(saved.nodes)},
        rows=saved.rows,
        columns=columns,
        waiting=saved.waiting,
        claims=saved.claims,
        running=running,
        preempts_protected=saved.preempts_protected,
        least_priority=saved.least_priority,
        prices=saved.prices,
        weights=saved.weights,
        quotas=saved.quotas,
        reservations=reservations,
        data={name: _at(nodes, len(saved.nodes)) for name, nodes in saved.data.items()},
    )


def _at(positions: tuple[int, ...], count: int) -> Bools:
    """[node] whether it is at one of these positions. Raises IndexError."""
    is_one = np.zeros(count, np.bool_)
    is_one[list(positions)] = True
    return is_one


def _columns(saved: _Saved) -> Columns:
    classes = GpuClasses()
    for gpu in saved.classes:
        classes.number(gpu)
    above = [saved.groups[group] for group in saved.group]
    slots = max((len(offer.gpus) for offer in saved.nodes), default=0)
    columns = Columns.empty(len(saved.nodes), max(1, slots), above, len(saved.rows), classes)
    put_places(columns, [one.rack for one in saved.nodes], [one.labels for one in saved.nodes])
    for at, offer in enumerate(saved.nodes):
        put_node(columns, at, offer)
    for row, priority, mw in saved.yields_mw:
        columns.yields_mw[row, priority] = mw
    columns.headroom_mw[:-1], columns.budget_mw[:-1] = saved.headroom_mw, saved.budget_mw
    return columns
