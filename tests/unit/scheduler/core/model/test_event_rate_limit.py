"""What one event may cost, whatever its request, a parent, the clock or an agent brings about."""

from typing import cast

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.sites import JobBuilder, job, site
from wattline_protocol.ids import AttemptNo, JobId, TaskNo, TaskRef, UserName
from wattline_protocol.job.selection import Selection, Span, only
from wattline_protocol.wire.agent_messages import TaskReport
from wattline_protocol.wire.client_messages import (
    Acted,
    Cancel,
    Denied,
    Events,
    Hold,
    Release,
    Requeue,
    Response,
    Update,
)
from wattline_protocol.wire.codec import MAX_MESSAGE_BYTES
from wattline_scheduler.core.agents import task_reports
from wattline_scheduler.core.agents.store_behind import NUMBERS_LOST
from wattline_scheduler.core.lifecycle import dependencies, windows
from wattline_scheduler.core.model.events import ClientRequest, DiskMeasured, PlanDue, TimePassed
from wattline_scheduler.core.model.journal import EVENT_CHARS
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests import bulk_actions, selection
from wattline_scheduler.shell.clients.subscriptions import EVENTS_AT_ONCE

MINE = Selection(users=("ada",))


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 2).build())


def ended(h: Harness, numbers: list[JobId]) -> int:
    return sum(h.job(number).is_ended for number in numbers)


def test_events_that_are_sent_at_once_fit_into_a_message(h: Harness) -> None:
    """A message that is too long is cut, and followers of events would miss the rest."""
    h.cluster.state.journal.note("job_failed", "\U0001f600" * 9_000, h.now)
    event = h.cluster.state.journal.events[-1]
    assert len(event.text) == EVENT_CHARS
    answer = Response(1, Events((event,) * EVENTS_AT_ONCE), is_last=False)
    assert len(msgspec.msgpack.encode(answer)) < MAX_MESSAGE_BYTES


def test_ranges_that_overlap_name_each_index_once(h: Harness) -> None:
    number = h.submit(job().held().array(8))
    ranges = ((0, 7), (3, 5), (0, 0), (4, 7))
    named = Selection((Span(number, number, ranges), Span(JobId(0), JobId(0), ((2, 6),))))
    answer = h.ask(Cancel(named, is_dry_run=True), user="ada")
    assert isinstance(answer, Acted)
    assert [(one.tasks, one.indices) for one in answer.jobs] == [(8, "0-7")]


def test_ranges_by_the_thousand_cost_what_they_name(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = h.submit(job().held().array(8))
    searches: list[UserName] = []
    newest = selection._newest

    def counted(state: State, user: UserName) -> JobId | None:
        searches.append(user)
        return newest(state, user)

    monkeypatch.setattr(selection, "_newest", counted)
    many = Selection(tuple(Span(JobId(0), JobId(0), ((each % 8, 7),)) for each in range(5_000)))
    asker = selection.Asker(UserName("ada"), "submitter")
    (target,) = cast("list[selection.Target]", selection.select(h.cluster.state, asker, many))
    assert (target.number, target.numbers) == (number, tuple(range(8)))
    assert len(searches) == 1


def test_jobs_are_changed_a_hundred_at_a_time(h: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_actions, "MAX_CHANGED", 2)
    for _ in range(5):
        h.submit(job().held())
    changed = h.ask(Update(MINE, {"priority": 20}))
    held = h.ask(Hold(MINE))
    assert isinstance(changed, Acted)
    assert isinstance(held, Acted)
    assert (len(changed.jobs), changed.rest) == (2, 3)
    assert (len(held.jobs), held.rest) == (5, 0)


def test_indices_count_though_nothing_is_done_to_them(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_actions, "MAX_TASKS", 10)
    for _ in range(3):
        h.submit(job().held().array(8))
    again = h.ask(Hold(MINE))
    assert isinstance(again, Acted)
    assert (len(again.jobs), again.rest) == (1, 2)


def test_a_deadline_of_many_arrays_ends_them_in_turn_and_nothing_is_planned_meanwhile(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "MAX_GANGS_EVALUATED", 20)
    numbers = [h.submit(job().held().array(15).deadline("2023-11-14T22:13:50")) for _ in range(4)]
    waits = h.submit(job().gpus(8))
    other = h.submit(job().gpus(8))
    assert (h.state_of(waits), h.state_of(other)) == ("RUNNING", "RUNNING")
    late = h.submit(job().gpus(8).deadline("2023-11-14T22:13:50"))
    h.run(5)
    assert ended(h, numbers) == 0
    h.mono_s += 60
    counts = []
    for _ in range(5):
        h.handle(PlanDue())
        counts.append(ended(h, [*numbers, late]))
    assert counts == [1, 2, 3, 4, 5]


def test_indices_that_end_with_a_parent_count_like_children(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dependencies, "MAX_PROPAGATED", 10)
    parent = h.submit(job().held())
    child: JobBuilder = job().array(8).after_ok(parent)
    children = [h.submit(child) for _ in range(6)]
    assert h.state_of(children[0]) == "PENDING"
    h.handle(ClientRequest(b"ops", 1, UserName("ops"), "operator", Cancel(only(parent))))
    counts = [ended(h, children)]
    for _ in range(2):
        h.handle(TimePassed())
        counts.append(ended(h, children))
    assert counts == [2, 4, 6]


def stray(number: int) -> TaskReport:
    return TaskReport(TaskRef(JobId(number), TaskNo(0), AttemptNo(1)), "running", ())


def test_a_child_of_many_parents_counts_for_more_than_one(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dependencies, "MAX_PROPAGATED", 4)
    monkeypatch.setattr(dependencies, "PARENTS_PER_INDEX", 2)
    parents = [h.submit(job().held()) for _ in range(4)]
    children = [h.submit(job().after_ok(*parents)) for _ in range(6)]
    h.handle(ClientRequest(b"ops", 1, UserName("ops"), "operator", Cancel(only(parents[0]))))
    assert ended(h, children) == 2
    h.run(2)
    assert ended(h, children) == 6


def test_an_agent_that_invents_tasks_fills_no_memory(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_reports, "MAX_STRAYS", 20)
    state = h.cluster.state
    node = next(iter(state.nodes.values()))
    for number in range(1_000, 1_100):
        task_reports.take_report(state, node, stray(number), h.now)
    assert len(node.outbox) <= 20


def test_numbers_go_on_above_what_agents_name_once_only(h: Harness) -> None:
    state = h.cluster.state
    node = next(iter(state.nodes.values()))
    first = state.next_job
    for _ in range(50):
        task_reports.take_report(state, node, stray(state.next_job + NUMBERS_LOST - 1), h.now)
    assert state.next_job <= first + NUMBERS_LOST


def test_submitters_fill_no_disk_by_acts_on_what_is_there(h: Harness) -> None:
    h.submit(job().held())
    h.handle(DiskMeasured(free_bytes=1, total_bytes=10**9))
    for request in (Hold(MINE), Release(MINE), Update(MINE, {"priority": 20}), Requeue(MINE, "t")):
        answer = h.ask(request, user="ada", role="submitter")
        assert isinstance(answer, Denied), request
        assert (answer.kind, "disk is nearly full" in answer.reason) == ("busy", True)
    assert isinstance(h.ask(Hold(MINE)), Acted)
    assert isinstance(h.ask(Release(MINE, is_dry_run=True), user="ada", role="submitter"), Acted)
    assert isinstance(h.ask(Cancel(MINE), user="ada", role="submitter"), Acted)
