"""Jobs with an output wait for a slot while nodes keep the maximum of outputs of their user."""

import pytest

from support.core.harness import running
from support.core.node_data import sha, started
from support.core.outputs import makes, output, publishes, reason, say
from support.core.parts import explain_job
from support.core.sites import job
from wattline_protocol.data.requests import AddData
from wattline_protocol.ids import NodeId, Now
from wattline_protocol.job.selection import only
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.wire.agents.data_messages import OutputNow, StoredOutput
from wattline_protocol.wire.client_messages import Denied, Drain, Hold, Undrain
from wattline_scheduler.core.admission import output_slots
from wattline_scheduler.core.lifecycle.data.publishing import outputs_by_node
from wattline_scheduler.core.model.data.data_book import DataBook
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.data_sets import output_versions
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.data_record import DataVersionRecord


def test_a_job_waits_for_an_output_slot_and_other_jobs_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(output_slots, "MAX_KEPT_OUTPUTS_OF_USER", 2)
    h = started(1)
    first, second, third = (h.submit(makes("features")) for _ in range(3))
    h.run(2)
    assert {ref.job for _, ref in running(h, first)} == {first}
    assert running(h, second)
    other, plain = h.submit(makes("other"), user="bob"), h.submit(job())
    h.run(5)
    assert running(h, other)
    assert running(h, plain)
    assert h.state_of(third) == "PENDING"
    wanted = "waits for data: a1: an output slot for ada"
    assert reason(h, third) == wanted
    h.end_tasks(only=lambda agent: True)
    h.run(30)
    assert reason(h, third) == wanted, "outputs that are not published are kept"
    h.restart_scheduler()
    h.join()
    h.run(3)
    assert not running(h, third)
    say(h, "a1")
    output(h, first, 1)
    h.run(2)
    assert running(h, third)
    assert h.gang(third).refusals == 0


def test_a_held_job_with_an_output_is_not_said_to_lack_a_slot() -> None:
    h = started(1)
    h.do(Drain(NodeId("a1"), "service"))
    number = h.submit(makes("features"))
    h.do(Hold(only(number)))
    h.do(Undrain(NodeId("a1")))
    h.run(2)
    job = h.job(number)
    view = explain_job(h.cluster.state, job, h.now)
    assert (view.nodes_feasible, [one.filter for one in view.refusals]) == (1, ["hold"])


def test_jobs_that_start_in_one_cycle_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_slots, "MAX_KEPT_OUTPUTS_OF_USER", 2)
    h = started(1)
    h.do(Drain(NodeId("a1"), "service"))
    numbers = [h.submit(makes("features")) for _ in range(4)]
    h.run(2)
    h.do(Undrain(NodeId("a1")))
    h.run(3)
    assert sum(bool(running(h, one)) for one in numbers) == 2


def test_outputs_of_one_set_ask_once_a_run_what_they_are_checked_against(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A set has up to 5,000 versions, and a node up to 128 outputs."""
    asked: list[str] = []

    def counted(book: DataBook, name: str) -> DataVersionRecord | None:
        asked.append(name)
        return measure_of(book, name)

    measure_of = DataBook.measure_of
    h = started(1)
    numbers = [h.submit(makes("features")) for _ in range(4)]
    h.run(2)
    h.end_tasks()
    monkeypatch.setattr(DataBook, "measure_of", counted)
    outputs = outputs_by_node(h.cluster.state, h.now)
    assert [one.ref.job for one in outputs[NodeId("a1")]] == numbers
    assert asked == ["features"]


def test_kept_outputs_of_a_full_set_are_tried_again_some_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[str] = []

    def full(state: State, asker: Asker, request: AddData, now: Now, recipe: JobSpec) -> Denied:
        tried.append(request.sha256)
        return Denied("busy", "the set is full")

    h = started(1)
    numbers = [h.submit(makes("features")) for _ in range(4)]
    h.run(2)
    h.end_tasks()
    with monkeypatch.context() as patched:
        patched.setattr(output_versions, "add", full)
        patched.setattr(output_versions, "MAX_REGISTERED", 1)
        orders = {one.ref.job: one for one in publishes(h, "a1")}
        found = [(orders[job], sha(at)) for at, job in enumerate(numbers)]
        stored = [(one, StoredOutput(one.as_of, content, 1, 1, 1)) for one, content in found]
        say(h, "a1", outputs=tuple(OutputNow(one.ref, "stored", stored=at) for one, at in stored))
        tried.clear()
        for _ in numbers:
            output_versions.tick_outputs(h.cluster.state, h.now)
        assert sorted(tried) == [sha(at) for at in range(4)], "one in each run, in turn"
        assert all("the set is full" in reason(h, number) for number in numbers)
    h.tick()
    assert {h.state_of(number) for number in numbers} == {"COMPLETED"}
