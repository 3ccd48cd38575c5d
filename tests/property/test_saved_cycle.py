"""A planning cycle in a file is planned again as it was."""

import zlib
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.core.running import runs, with_work
from support.core.sites import job
from support.core.snapshots import offer, snapshot, waits
from support.strategies.plans import snapshots
from wattline.acts.plan import planned_again
from wattline.failures import ActFailed
from wattline_scheduler.plan.cycle import INTERACTIVE, Cycle, Limits, plan
from wattline_scheduler.plan.model.memory import EMPTY
from wattline_scheduler.plan.model.reserved_nodes import Reservations, Span
from wattline_scheduler.plan.model.snapshot import RunningGang, Snapshot
from wattline_scheduler.plan.saved_cycle import NoCycle, decoded, encoded
from wattline_scheduler.time_slices import at_once

BOOLEANS = st.booleans()


@st.composite
def full_snapshots(draw: st.DrawFn) -> Snapshot:
    """With running work, claims and reservations as well."""
    snap, with_reservation, with_claim = draw(snapshots()), draw(BOOLEANS), draw(BOOLEANS)
    places: list[RunningGang] = []
    for at, node in enumerate(snap.nodes):
        usable = (*node.free, *(part.gpu for part in node.parts))
        taken = [gpu.index for gpu in node.gpus if gpu not in usable]
        if taken and at % 3:
            quotas = range(len(snap.quotas))
            gang = runs(1_000 + at, (at, taken), quotas=[*quotas], priority="low")
            # Its CPUs would be more than the node has beside the free ones.
            places.append(replace(gang, tasks=tuple(replace(t, cpus=0) for t in gang.tasks)))
    snap = with_work(snap, places)
    least = snap.columns.least_priority.tolist()
    offers = (replace(o, least_priority=one) for o, one in zip(snap.nodes, least, strict=True))
    snap = replace(snap, nodes=tuple(offers))
    if snap.nodes and with_reservation:
        span = Span("r", 50.0, 500.0, np.array([0]), "account vision", "soon", "later")
        snap = replace(snap, reservations=Reservations([span], len(snap.nodes), snap.now))
    if snap.nodes and snap.waiting and with_claim:
        job = snap.waiting[0]
        snap = replace(snap, claims={(job.job, job.gangs[0]): (snap.nodes[0].node,)})
    return snap


@given(full_snapshots(), st.sampled_from([INTERACTIVE, Limits(effort=200), Limits(placements=1)]))
def test_a_saved_cycle_plans_the_same_again(snap: Snapshot, limits: Limits) -> None:
    memory = EMPTY
    for _ in range(2):
        made = plan(snap, memory, limits)
        again = decoded(at_once(encoded(Cycle(snap, memory, limits, made))))
        assert again.plan == replace(made, memory=EMPTY)
        assert plan(again.snapshot, again.memory, again.limits) == made
        memory = made.memory


NOTHING = snapshot()


@pytest.mark.parametrize("cut", [0, 1, 20, -1])
def test_a_damaged_file_is_refused(cut: int) -> None:
    empty = plan(NOTHING)
    data = at_once(encoded(Cycle(NOTHING, EMPTY, INTERACTIVE, empty)))
    with pytest.raises(NoCycle):
        decoded(data[:cut])
    with pytest.raises(NoCycle):
        decoded(b"\x00" + data)


def changed(**fields: object) -> bytes:
    """The file of a cycle of one node in which some fields are others."""
    one = snapshot(offer("a1"), waiting=(waits(1, job()),))
    data = at_once(encoded(Cycle(one, EMPTY, INTERACTIVE, plan(one))))
    whole = msgspec.msgpack.decode(zlib.decompress(data), type=dict[str, msgspec.Raw])
    return zlib.compress(msgspec.msgpack.encode({**whole, **fields}))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (changed() + b"more", "cut off, or larger"),
        (changed(format="wattline-cycle-9"), "its format is 'wattline-cycle-9'; this version"),
        (changed(group=[0, 0]), "differ in length"),
        (changed(gangs_on=[[], []]), "differ in length"),
        (changed(budget_mw=[1]), "differ in length"),
        (changed(yields_mw=[[0, 50, 2**64 - 1]]), "too large"),
        (changed(yields_mw=[[2**40, 50, 1]]), "out of bounds"),
    ],
)
def test_a_changed_file_is_refused_in_words(data: bytes, why: str) -> None:
    with pytest.raises(NoCycle, match=why):
        decoded(data)


def test_a_file_that_contradicts_itself_ends_in_one_line(tmp_path: Path) -> None:
    demand = msgspec.to_builtins(waits(1, job()), enc_hook=str)
    demand["shape"]["gpus"] = -(2**63)
    file = tmp_path / "cycle.bin"
    file.write_bytes(changed(waiting=[demand]))
    with pytest.raises(ActFailed, match="contradicts itself and cannot be planned"):
        planned_again(file)


def test_no_more_of_a_file_is_read_than_a_cycle_has() -> None:
    with pytest.raises(ActFailed, match="/dev/zero is not a planning cycle"):
        planned_again(Path("/dev/zero"))
