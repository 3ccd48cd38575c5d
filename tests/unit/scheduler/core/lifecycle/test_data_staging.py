"""Jobs that read data sets: which nodes fetch for them, when they start, and when they fail."""

from typing import get_args

import msgspec
import pytest

from support.core.harness import Harness, running
from support.core.node_data import (
    add,
    held,
    holding,
    listed,
    reads,
    report,
    sha,
    started,
)
from support.core.parts import explain_job
from support.core.sites import job
from wattline_protocol.data.requests import ApproveData, RemoveData
from wattline_protocol.ids import JobId, NodeId
from wattline_protocol.wire.agent_messages import StartTask
from wattline_protocol.wire.agents.data_messages import (
    DataHeld,
    DataState,
    HoldData,
)
from wattline_protocol.wire.client_messages import Denied


def waits(h: Harness, number: JobId) -> str:
    view = explain_job(h.cluster.state, h.job(number), h.now)
    assert h.state_of(number) == "PENDING"
    assert {one.filter: one.missing for one in view.refusals}["data"] == view.reason
    return view.reason


def test_a_job_starts_on_the_node_that_fetched_its_data_and_its_order_names_it() -> None:
    h = started()
    add(h, 7)
    number = h.submit(reads("digits@latest"))
    assert h.job(number).spec.data.datasets == ("digits@v1",)
    assert holding(h) == {"a1": ["digits@v1"]}
    assert listed(h, "a1")[0].store == "/srv"
    assert waits(h, number) == "fetching digits@v1: 0 % on a1"
    held(h, "a1", 7, "fetching", done=829)
    assert waits(h, number) == "fetching digits@v1: 41 % on a1"
    h.run(5)
    assert not running(h, number)
    held(h, "a1", 7)
    h.run(2)
    assert [str(node) for node, _ in running(h, number)] == ["a1"]
    (order,) = [m.order for m in h.sent_to("a1", StartTask) if isinstance(m, StartTask)]
    assert [(one.reference, one.manifest_sha256) for one in order.data] == [("digits@v1", sha(7))]
    h.end_tasks()
    h.run(2)
    assert holding(h) == {}


def test_a_copy_that_is_not_on_the_list_was_not_examined_and_starts_nothing() -> None:
    h = started()
    add(h, 7)
    report(h, "a2", DataHeld(sha(7), "ready"))
    number = h.submit(reads("digits@v1"))
    assert holding(h) == {"a2": ["digits@v1"]}  # it has a copy: it is preferred
    assert "on a2" in waits(h, number)
    held(h, "a2", 7)
    h.run(2)
    assert [str(node) for node, _ in running(h, number)] == ["a2"]


def test_a_gang_waits_for_all_of_its_nodes() -> None:
    h = started(3)
    add(h, 7)
    number = h.submit(reads("digits@v1", nodes=2))
    assert holding(h) == {"a1": ["digits@v1"], "a2": ["digits@v1"]}
    held(h, "a2", 7)
    assert waits(h, number) == "fetching digits@v1: 0 % on a1"
    held(h, "a1", 7)
    h.run(2)
    assert sorted(str(node) for node, _ in running(h, number)) == ["a1", "a2"]


def test_the_reason_of_a_store_that_is_away_is_shown_and_no_gpu_waits_for_it() -> None:
    h = started(1)
    add(h, 7)
    number = h.submit(reads("digits@v1", gpus=8))
    held(h, "a1", 7, "waiting", detail="its store is away: no route")
    assert waits(h, number) == "digits@v1 is not on a1 yet: its store is away: no route"
    other = h.submit(job().gpus(8))
    h.run(2)
    assert (h.state_of(number), h.state_of(other)) == ("PENDING", "RUNNING")


def test_a_fetch_goes_on_when_others_take_the_gpus_and_another_node_may_begin() -> None:
    h = started(2)
    add(h, 7)
    number = h.submit(reads("digits@v1", gpus=8))
    assert holding(h) == {"a1": ["digits@v1"]}
    first = h.submit(job().gpus(8))
    h.run(2)
    assert [str(node) for node, _ in running(h, first)] == ["a1"]
    assert holding(h) == {"a1": ["digits@v1"], "a2": ["digits@v1"]}
    held(h, "a2", 7)
    h.run(2)
    assert [str(node) for node, _ in running(h, number)] == ["a2"]


def test_a_final_failure_ends_the_job_and_not_the_next_one() -> None:
    h = started(1)
    add(h, 7)
    number = h.submit(reads("digits@v1"))
    held(h, "a1", 7, "failed", detail="its store refuses to be read: wrong keys")
    record = h.job(number).record
    assert record.state == "FAILED"
    assert (
        record.reason == "digits@v1 cannot be read on a1: its store refuses to be read: wrong keys"
    )
    again = h.submit(reads("digits@v1"))
    assert listed(h, "a1")[0].asked == again
    assert h.state_of(again) == "PENDING"
    held(h, "a1", 7)
    h.run(2)
    assert h.state_of(again) == "RUNNING"


@pytest.mark.parametrize(
    ("versions", "why"),
    [
        (("digit@v1",), "there is no data set digit; the nearest is digits"),
        (("digits@v2",), "digits@v2 does not exist; digits has v1"),
        (("digits@stable",), "digits has no alias stable"),
        (("large@v1",), "large@v1 has 97.7 KiB; the largest cache of a node has 9.77 KiB"),
    ],
)
def test_what_cannot_be_read_is_denied(versions: tuple[str, ...], why: str) -> None:
    h = started()
    add(h, 7)
    add(h, 8, 100_000, name="large")
    assert why in h.refuse(reads(*versions))


def test_data_of_others_is_denied() -> None:
    h = started()
    add(h, 7)
    state = h.cluster.state
    state.data.put_set(msgspec.structs.replace(state.data.sets["digits"], readers=("bob",)))
    assert "is for ada, bob; you are eve" in h.refuse(reads("digits@v1"), user="eve")


def test_a_version_that_is_removed_leaves_caches_once_nothing_uses_it() -> None:
    h = started(1)
    add(h, 7)
    number = h.submit(reads("digits@v1"))
    held(h, "a1", 7)
    h.run(2)
    h.end_tasks()
    h.run(2)
    report(h, "a1", DataHeld(sha(7), "ready"))
    assert h.state_of(number) == "COMPLETED"
    assert not isinstance(h.ask(RemoveData("digits@v1"), user="ada"), Denied)
    h.run(2)
    newest = [m for m in h.sent_to("a1", HoldData) if isinstance(m, HoldData)][-1]
    assert (newest.versions, newest.drop) == ((), (sha(7),))
    report(h, "a1")
    h.run(2)
    newest = [m for m in h.sent_to("a1", HoldData) if isinstance(m, HoldData)][-1]
    assert (newest.versions, newest.drop) == ((), ())


def test_an_alias_that_moves_changes_no_job_that_was_accepted() -> None:
    h = started()
    add(h, 7)
    add(h, 8)
    h.ask(ApproveData("digits@v1", "stable"), user="ada")
    number = h.submit(reads("digits@stable"))
    h.ask(ApproveData("digits@v2", "stable"), user="ada")
    assert h.job(number).spec.data.datasets == ("digits@v1",)
    assert [one.manifest_sha256 for one in listed(h, "a1")] == [sha(7)]


def test_after_restarts_running_work_keeps_its_data_and_pending_work_waits_for_reports() -> None:
    h = started(1)
    add(h, 7)
    add(h, 8)
    first = h.submit(reads("digits@v1", gpus=8))
    held(h, "a1", 7)
    h.run(2)
    second = h.submit(reads("digits@v2"))
    h.restart_scheduler()
    h.join()
    h.run(2)
    assert (h.state_of(first), h.state_of(second)) == ("RUNNING", "PENDING")
    assert "that can hold digits@v2" in waits(h, second)
    report(h, "a1", DataHeld(sha(7), "ready"))
    assert holding(h) == {"a1": ["digits@v1", "digits@v2"]}


def test_a_node_that_loses_a_version_before_the_start_gets_no_task() -> None:
    h = started(1)
    add(h, 7)
    h.agents[NodeId("a1")].is_slow_to_ack = True
    number = h.submit(reads("digits@v1"))
    held(h, "a1", 7)
    assert h.state_of(number) == "STARTING"
    report(h, "a1")
    h.agents[NodeId("a1")].is_slow_to_ack = False
    h.agent("a1").ack_now()
    h.settle()
    assert not h.sent_to("a1", StartTask)
    assert "a1 no longer has digits@v1" in h.gang(number).reason


def test_all_states_are_known_here() -> None:
    assert set(get_args(DataState)) == {"fetching", "waiting", "ready", "failed"}


def test_data_is_staged_beside_gpus_of_a_class_that_no_plan_has_seen() -> None:
    """What a task costs there was looked up among the classes of the newest plan, and the scheduler
    ended: one more figure that an agent learns of its GPUs makes another class."""
    h = started()
    add(h, 7)
    h.submit(job().gpus(8).array(40, at_a_time=1))
    number = h.submit(reads("digits@v1"))
    assert h.cluster.state.fleet_view.pricing.prices is not None
    name = next(node.id for node in h.cluster.state.nodes.values() if not node.attempts)
    agent = h.agent(name)
    learned = [msgspec.structs.replace(one, overshoot_permille=1_040) for one in agent.gpus]
    h.say(name, agent.hello(gpus=tuple(learned)))
    h.tick(1.0)
    assert h.state_of(number) == "PENDING"
    assert h.node(name).is_adopted
