"""Problems begin once and end once, however their figures change and however they flap."""

import msgspec
import pytest

from support.core.harness import Harness, joined, running
from support.core.sites import job, site
from wattline_protocol.ids import GpuIndex, NodeId, TaskRef
from wattline_protocol.wire.agent_messages import Beat, GpuSample, TaskExit
from wattline_protocol.wire.bounds import MAX_NAME_CHARS
from wattline_protocol.wire.client_messages import DeclareOff
from wattline_protocol.wire.event_log import ListProblems, ProblemList
from wattline_protocol.wire.problem_kinds import AGENT_KINDS, KINDS
from wattline_protocol.wire.problems import MAX_PART, Condition
from wattline_scheduler.core.agents import node_problems
from wattline_scheduler.core.agents.task_reports import LEFT_KIND, MAX_LEFT
from wattline_scheduler.core.model import problem_book
from wattline_scheduler.core.model.problems import begin, end
from wattline_scheduler.records import EventRecord, ProblemRecord
from wattline_scheduler.views.problems_view import problem_list

FOREIGN = "foreign_load"


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 2).build())


def beats(h: Harness, count: int, *found: Condition, old: tuple[str, ...] = ()) -> None:
    """One a second, each with these conditions; figures in them change."""
    for second in range(count):
        texts = tuple(
            msgspec.structs.replace(one, text=one.text.replace("#", str(100 + second)))
            for one in found
        )
        sentences = tuple(text.replace("#", str(100 + second)) for text in old)
        problems = sentences or tuple(one.sentence for one in texts)
        one_second(h, conditions=texts, problems=problems)


def one_second(h: Harness, **said: object) -> None:
    """With one beat of a1 that says so, and an ordinary one of a2."""
    h.agent("a1").say_beat(**said)
    h.agent("a2").say_beat()
    h.settle()
    for _ in range(7):
        h.tick()


def foreign(gpu: int = 3) -> Condition:
    return Condition(FOREIGN, f"GPU {gpu}", "draws # W without a task of ours (foreign load)")


def written(h: Harness) -> list[ProblemRecord]:
    return list(h.disk.of(ProblemRecord))


def test_fifty_seconds_of_foreign_load_are_one_problem_and_two_events(h: Harness) -> None:
    before = len(h.disk.of(EventRecord))
    beats(h, 50, foreign())
    beats(h, 10)
    (began,), (ended,) = h.events(FOREIGN), h.events("foreign_load_over")
    assert len(h.disk.of(EventRecord)) == before + 2
    assert (began.actor, began.node, began.level) == ("a1", "a1", "warning")
    assert "ended after" in ended.text
    (record,) = written(h)
    assert (record.subject, record.occurrences) == ("a1 GPU 3", 1)
    assert "149 W" in record.evidence, "the last figures are on record"
    assert record.number == began.seq
    assert record.until_unix_s is not None
    assert 49 <= record.until_unix_s - record.since_unix_s <= 60


def test_the_same_from_an_older_agent_that_only_has_sentences(h: Harness) -> None:
    for second in range(50):
        text = f"GPU 3: draws {100 + second} W without a task of ours (foreign load)"
        one_second(h, problems=(text,))
    beats(h, 10)
    assert len(h.events("node_problem")) == len(h.events("node_problem_over")) == 1
    assert len(written(h)) == 1


def test_two_gpus_with_the_same_trouble_are_two_problems(h: Harness) -> None:
    beats(h, 3, foreign(3), foreign(5))
    sentences = tuple(f"GPU {gpu}: something is # wrong" for gpu in (1, 2))
    beats(h, 3, old=sentences)
    subjects = [one.record.subject for one in h.cluster.state.problems.open.values()]
    assert {"a1 GPU 3", "a1 GPU 5"} <= set(subjects)
    assert len(h.events("node_problem")) == 2


def test_an_agent_raises_no_problem_of_the_scheduler(h: Harness) -> None:
    beats(h, 1, Condition("books_contradicted", "", "boo"), Condition("unheard of", "", "x"))
    assert not h.events("books_contradicted")
    assert {event.level for event in h.events("node_problem")} == {"warning"}


def test_open_problems_survive_a_restart_and_end_once(h: Harness) -> None:
    beats(h, 5, foreign())
    h.restart_scheduler()
    h.join()
    beats(h, 5, foreign())
    assert len(h.events(FOREIGN)) == 1
    h.restart_scheduler()
    h.join()
    beats(h, 10)
    assert len(h.events(FOREIGN)) == len(h.events("foreign_load_over")) == 1
    assert not h.cluster.state.problems.open


def test_what_flaps_ends_ever_more_rarely(h: Harness) -> None:
    state = h.cluster.state
    for _ in range(600):
        begin(state, "node_silent", "a2", "not heard", h.now, node=h.node("a2").id)
        h.tick()
        end(state, "node_silent", "a2", h.now)
        h.tick()
    (record,) = (one for one in written(h) if one.subject == "a2")
    assert record.until_unix_s is None
    reported = [event.node for event in h.events("node_silent")].count(h.node("a2").id)
    assert reported == 2, "it ended once, came back, and then its end had to wait"
    h.run(problem_book.MOST_HELD_S + 1)
    (record,) = (one for one in written(h) if one.subject == "a2")
    assert record.until_unix_s is not None
    assert record.occurrences == 600
    assert [event.node for event in h.events("node_heard")].count(h.node("a2").id) == reported


def test_one_that_comes_back_much_later_is_another(h: Harness) -> None:
    for _ in range(2):
        beats(h, 2, foreign())
        beats(h, int(problem_book.REOPEN_S) + 10)
    assert len(written(h)) == 2
    assert [one.occurrences for one in written(h)] == [1, 1]


def test_a_node_that_is_off_has_no_problems(h: Harness) -> None:
    beats(h, 2, foreign())
    h.cut_off.add(h.node("a1").id)
    h.run(20)
    assert h.events("node_silent")
    h.do(DeclareOff(h.node("a1").id, "a1"))
    assert not h.cluster.state.problems.of_node


def test_a_gpu_that_was_lost_before_a_restart_is_back_after_it(h: Harness) -> None:
    agent = h.agent("a1")
    lost = tuple(
        GpuSample(gpu.index, None, None, lost=gpu.index == 2, is_idle=True) for gpu in agent.gpus
    )
    agent.say_beat(gpus=lost)
    h.settle()
    h.restart_scheduler()
    h.join()
    h.run(8)
    assert len(h.events("gpu_lost")) == len(h.events("gpu_back")) == 1
    assert h.events("gpu_back")[-1].text == "GPU 2 of a1 is back"


def test_problems_of_one_node_are_bounded_and_taken_in_linear_time(h: Harness) -> None:
    """A hostile or broken agent; the edge bounds a beat, and the core relies on no edge."""
    beat = h.agent("a1").beat()
    assert isinstance(beat, Beat)
    for number in range(10):
        many = tuple(f"{chr(97 + number)}{'x' * (at % 50)}{at}" for at in range(100_000))
        h.say("a1", msgspec.structs.replace(beat, seq=beat.seq + 1 + number, problems=many))
    assert len(h.cluster.state.problems.of_node[h.node("a1").id]) <= node_problems.MAX_OF_NODE
    assert len(h.events("node_problem")) <= node_problems.MAX_OF_NODE


def test_a_list_that_was_cut_ends_nothing(h: Harness) -> None:
    beats(h, 2, foreign(1), foreign(2))
    beats(h, 10, foreign(1), Condition("more_problems", "", "and 7 more problems"))
    assert not h.events("foreign_load_over"), "GPU 2 may be among those that did not fit"


def test_problems_leave_with_the_node_that_leaves_the_site_file(h: Harness) -> None:
    beats(h, 2, foreign())
    (record,) = written(h)
    gone = msgspec.structs.replace(record, node=None, subject="pdu-z", kind="over_budget")
    h.disk.save(gone)
    h.restart_scheduler()
    assert not h.cluster.state.problems.open
    assert "no longer in the site file" in h.events("budget_met")[-1].text


def test_the_open_problems_of_a_site_are_bounded(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wattline_scheduler.core.model.problems.MAX_OPEN", 3)
    state = h.cluster.state
    assert [begin(state, "meter_stale", f"d{n}", "x", h.now) for n in range(5)] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_one_may_come_back_after_more_ended_than_are_in_memory(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a thousand nodes are heard again, and one of them is lost once more."""
    monkeypatch.setattr(problem_book, "ENDED_KEPT", 3)
    state, subjects = h.cluster.state, [f"d{n}" for n in range(5)]
    for subject in subjects:
        begin(state, "over_budget", subject, "x", h.now)
        end(state, "over_budget", subject, h.now)
    h.tick()
    assert [one.subject for one in state.problems.ended.values()] == subjects[2:]
    assert begin(state, "over_budget", "d0", "x", h.now)
    assert begin(state, "over_budget", "d3", "x", h.now)
    assert [one.record.occurrences for one in state.problems.open.values()] == [2, 2]
    assert [one.subject for one in state.problems.ended.values()] == ["d2", "d4"]


def test_every_kind_is_explained() -> None:
    assert KINDS.keys() > AGENT_KINDS
    for name, kind in KINDS.items():
        assert kind.name == name
        assert kind.title
        assert kind.meaning.endswith(".")
        assert kind.remedy.endswith(".")
        assert kind.end_event != name


def test_gpus_beyond_the_known_ones_are_no_problem(h: Harness) -> None:
    h.agent("a1").say_beat(gpus=(GpuSample(GpuIndex(900), None, None, lost=True),))
    h.settle()
    assert not h.events("gpu_lost")


def test_clients_can_read_the_longest_subject() -> None:
    name = "n" * (MAX_NAME_CHARS - 1)
    h = joined(site().rack(name, 1).build())
    h.agent(f"{name}1").say_beat(conditions=(Condition(FOREIGN, "p" * MAX_PART, "draws 9 W"),))
    h.settle()
    found = problem_list(h.cluster.state, ListProblems())
    assert len(found.problems[0].subject) == MAX_NAME_CHARS + 1 + MAX_PART
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=ProblemList) == found


def test_what_attempts_of_one_node_leave_takes_no_place_from_the_alarms_of_the_site() -> None:
    h = joined(site().rack("a", 1).build())
    number = h.submit(job().gpus(1).array(MAX_LEFT + 3))
    h.run(2)
    while live := running(h, number):
        for node, ref in live:
            end_with_left(h, node, ref)
        h.run(1)
    left = [subject for kind, subject in h.cluster.state.problems.open if kind == LEFT_KIND]
    assert len(left) == MAX_LEFT + 1
    assert left[-1] == "a1", "all others of the node are one"


def end_with_left(h: Harness, node: NodeId, ref: TaskRef) -> None:
    """A task ends, and a process of it does not."""
    agent = h.agent(node)
    agent.end(ref)
    task = agent.tasks[ref]
    task.exit = TaskExit(kind="exited", code=0, leftover_pids=(17,))
    agent.said[-1:] = []
    agent.tell(task)
    h.settle()
