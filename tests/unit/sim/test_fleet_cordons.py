"""The fleet simulation's own look at cordons: what it accepts and what it reports."""

from collections.abc import Sequence

import msgspec
import pytest

from support.core import records
from wattline_protocol.ids import GpuIndex, NodeId, UnixTime, UserName
from wattline_protocol.views.site_views import EventView
from wattline_protocol.wire.nodes.acts import Cordon, Uncordon
from wattline_protocol.wire.nodes.gpu_cordon import GpuCordon
from wattline_scheduler.core.model.events import ClientRequest, Event, TimePassed
from wattline_scheduler.records import (
    ActRecord,
    AttemptRecord,
    Cause,
    GangPhase,
    GangRecord,
    NodeRecord,
    Record,
)
from wattline_sim.fleet.disk import key_of
from wattline_sim.fleet.hardware import uuid_of
from wattline_sim.fleet.users.cordoning import CordonIgnored, check_cordons

A1 = NodeId("a1")


def node(*cordoned: int) -> NodeRecord:
    cordons = tuple(
        GpuCordon(uuid_of(A1, GpuIndex(i)), GpuIndex(i), "fault", UserName("ops"), UnixTime(1.0))
        for i in cordoned
    )
    return msgspec.structs.replace(records.node(A1), cordons=cordons)


def placed(*gpus: int) -> AttemptRecord:
    indices = tuple(map(GpuIndex, gpus))
    return msgspec.structs.replace(records.attempt(7), node=A1, gpus=indices)


def gang(phase: GangPhase, cause: Cause | None = None) -> GangRecord:
    return msgspec.structs.replace(records.gang(7, attempt=1), phase=phase, cause=cause)


def uncordoned() -> ActRecord:
    return ActRecord(EventView(5, UnixTime(1.0), "gpu_uncordoned", "ops", "", node=A1))


def asked(request: Cordon | Uncordon) -> Event:
    return ClientRequest(b"client", 1, UserName("ops"), "admin", request)


def check(
    before: Sequence[Record], *written: Record, handled: Sequence[Event] = (TimePassed(),)
) -> None:
    check_cordons({key_of(record): record for record in before}, written, handled)


def test_a_task_is_placed_beside_a_cordoned_gpu_and_not_on_it() -> None:
    check([node(0)], placed(1, 2))
    with pytest.raises(CordonIgnored, match=r"7.0#1 was placed on cordoned GPUs \[0\] of a1"):
        check([node(0)], placed(0, 1))


def test_what_the_same_transaction_cordons_or_uncordons_counts() -> None:
    check([node(0)], node(), uncordoned(), placed(0))
    with pytest.raises(CordonIgnored, match="was placed on"):
        check([node()], node(1), placed(1))


def test_an_attempt_that_was_placed_before_the_cordon_is_left_alone() -> None:
    check([node(0), placed(0)], placed(0))


def test_only_an_operator_ends_a_cordon() -> None:
    check([node(0)], node(), uncordoned())
    with pytest.raises(CordonIgnored, match=r"\['GPU-a1-0'\] of a1 are no longer cordoned"):
        check([node(0, 1)], node(1))


def test_a_cordon_alone_changes_no_running_gang_unless_a_plan_preempts_it() -> None:
    cordon = asked(Cordon(A1, "0"))
    check([gang("running")], gang("running"), handled=[cordon])
    check([gang("running")], gang("ending", "preempted"), handled=[cordon])
    check([gang("running")], gang("ending", "asked"), handled=[cordon, TimePassed()])
    with pytest.raises(CordonIgnored, match="a cordon alone turned"):
        check([gang("running")], gang("ending", "requeued"), handled=[cordon])
