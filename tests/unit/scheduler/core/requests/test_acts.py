"""Acts of people: each is on record where telemetry cannot push it out, refused ones too."""

from typing import get_args

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.sites import job, site
from wattline_protocol.ids import NodeId
from wattline_protocol.job.selection import Selection, Span, only
from wattline_protocol.site.model import Role
from wattline_protocol.wire.agent_messages import Beat
from wattline_protocol.wire.client_messages import (
    AckProblem,
    Cancel,
    CancelGridEvent,
    DeclareOff,
    DeclareOn,
    Denied,
    Drain,
    GridEvent,
    Hold,
    Request,
    Restore,
    SetUnits,
    Shed,
    Undrain,
)
from wattline_protocol.wire.nodes.acts import Cordon, Readmit, Uncordon
from wattline_protocol.wire.problems import Condition
from wattline_protocol.wire.reservations import Reserve, Unreserve
from wattline_scheduler.core.model import journal
from wattline_scheduler.core.model.events import ActRefused, MembersSeen
from wattline_scheduler.core.requests import dispatch
from wattline_scheduler.records import EventRecord, MemberRecord

A1 = NodeId("a1")


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 2).build())


def kinds(h: Harness) -> list[str]:
    return [event.kind for event in h.acts()]


OPERATORS: dict[type, Request] = {
    type(one): one
    for one in (
        Drain(A1),
        Undrain(A1),
        DeclareOff(A1, "a1"),
        DeclareOn(A1),
        Readmit(A1),
        Cordon(A1, "0"),
        Uncordon(A1, "0"),
        Shed(None, 0.1),
        Restore(None),
        GridEvent("e1", 9e9, fraction=0.1),
        CancelGridEvent("e1"),
        SetUnits(msgspec.convert("hall", str), 1),  # type: ignore[arg-type]
        Reserve("r1", nodes=(A1,)),
        Unreserve("r1"),
        AckProblem(1),
    )
}


def test_there_is_an_example_of_each_request_that_takes_an_operator() -> None:
    assert OPERATORS.keys() == set(dispatch.ON_SITE)
    assert set(dispatch.ON_SITE) <= set(get_args(Request))


@pytest.mark.parametrize("kind", dispatch.ON_SITE)
def test_every_act_of_an_operator_is_on_record_done_or_refused(h: Harness, kind: type) -> None:
    h.ask(OPERATORS[kind], user="olga")
    (act,) = h.acts()
    assert act.actor == "olga"
    assert act in h.cluster.state.journal.events, "it stands in the event log as well, once"


@pytest.mark.parametrize("kind", dispatch.ON_SITE)
def test_every_act_that_takes_an_operator_is_on_record_when_a_submitter_tries(
    h: Harness, kind: type
) -> None:
    assert isinstance(h.ask(OPERATORS[kind], user="mallory", role="submitter"), Denied)
    (act,) = h.acts()
    assert (act.kind, act.actor, act.level) == ("act_refused", "mallory", "warning")
    assert act.text.startswith("submitter may not ")


def test_what_people_do_with_their_own_jobs_is_no_act(h: Harness) -> None:
    number = h.submit(job().gpus(1))
    h.do(Hold(only(number)), user="ada", role="submitter")
    h.do(Cancel(only(number)), user="ada", role="submitter")
    assert not h.acts()


def test_what_an_operator_does_with_the_job_of_another_is_one(h: Harness) -> None:
    number = h.submit(job().gpus(1))
    h.do(Cancel(only(number)), user="olga")
    (act,) = h.acts()
    assert (act.actor, act.job) == ("olga", number)


def test_to_touch_the_job_of_another_is_refused_and_on_record(h: Harness) -> None:
    numbers = (h.submit(job().gpus(1)), h.submit(job().gpus(1)))
    h.ask(
        Cancel(Selection(jobs=tuple(Span(one, one) for one in numbers))),
        user="mallory",
        role="submitter",
    )
    (act,) = h.acts()
    assert (act.kind, act.actor) == ("act_refused", "mallory")
    assert "1 more" in act.text


def test_refused_acts_are_bounded_by_member_and_minute(h: Harness) -> None:
    for _ in range(500):
        h.ask(Drain(A1), user="mallory", role="submitter")
    h.ask(Drain(A1), user="eve", role="submitter")
    assert kinds(h) == ["act_refused"] * (journal.REFUSED_ACTS + 1)
    h.run(61)
    (summary,) = (act for act in h.acts() if act.kind == "acts_refused")
    assert summary.actor == "mallory"
    assert summary.text.startswith("490 more actions refused")


def test_a_flood_of_telemetry_pushes_no_act_out(h: Harness) -> None:
    h.do(Drain(A1, "maintenance"), user="olga")
    before = h.acts()
    beat = h.agent("a1").beat()
    assert isinstance(beat, Beat)
    for number in range(10):
        many = tuple(f"{chr(97 + number)}: {at}" for at in range(100_000))
        h.say("a1", msgspec.structs.replace(beat, seq=beat.seq + 1 + number, problems=many))
    assert h.acts() == before


def test_what_one_node_causes_is_bounded_by_the_minute_and_summed_up(h: Harness) -> None:
    before = len(h.disk.of(EventRecord))
    for second in range(40):
        found = tuple(
            Condition("node_problem", f"{second} {part} {'x' * part}", "new each time")
            for part in range(16)
        )
        h.agent("a1").say_beat(conditions=found)
        h.settle()
        h.agent("a1").say_hello()
        h.settle()
        h.mono_s += 1
    written = len(h.disk.of(EventRecord)) - before
    assert written <= 2 * journal.NODE_EVENTS
    h.run(61)
    summaries = h.events("events_dropped")
    assert all(event.node == "a1" for event in summaries)
    assert summaries


def test_members_that_come_change_and_go_are_on_record_over_restarts(h: Harness) -> None:
    ada, bob = MemberRecord("ada", "submitter", "A" * 40), MemberRecord("bob", "agent", "B" * 40)
    h.handle(MembersSeen((ada, bob)))
    assert kinds(h) == ["members_known"]
    h.restart_scheduler()
    admin = msgspec.structs.replace(ada, role="admin", public_key="C" * 40)
    eve = MemberRecord("eve", "submitter", "E" * 40)
    h.handle(MembersSeen((admin, eve)))
    assert kinds(h)[1:] == ["member_removed", "member_changed", "member_enrolled"]
    changed = h.acts()[2].text
    assert "role admin instead of submitter" in changed
    assert "another key" in changed
    h.restart_scheduler()
    h.handle(MembersSeen((admin, eve)))
    assert len(h.acts()) == 4, "nothing has changed"
    assert "C" * 40 not in "".join(act.text for act in h.acts())


def test_what_the_edge_refuses_is_on_record(h: Harness) -> None:
    h.handle(ActRefused("gw", "gateway may not submit", "a gateway may only watch routes"))
    (act,) = h.acts()
    assert (act.kind, act.actor) == ("act_refused", "gw")


@pytest.mark.parametrize("role", ["submitter", "operator", "admin"])
def test_a_dry_run_is_no_act(h: Harness, role: Role) -> None:
    number = h.submit(job().gpus(1))
    h.ask(Cancel(only(number), is_dry_run=True), user="olga", role=role)
    assert not [act for act in h.acts() if act.kind != "act_refused"]
