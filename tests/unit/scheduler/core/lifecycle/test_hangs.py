"""Gangs without progress: stacks, then a new attempt, and an event that names the rank."""

import msgspec
import pytest

from support.core.harness import Harness, joined, running
from support.core.sites import job, site
from wattline_protocol.ids import JobId
from wattline_protocol.job.rank_reports import RankPlace
from wattline_protocol.wire.agent_messages import DumpStacks, StopTask
from wattline_scheduler.core.lifecycle.hangs import STACKS_S, places_text


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 2, kw=30.0).build())


def work(h: Harness, seconds: int, *, marks: int = 0, only: str = "a1") -> None:
    """Every running task runs on; those of one node also report progress."""
    for _ in range(seconds):
        for agent in h.agents.values():
            for task in agent.tasks.values():
                if task.phase == "running":
                    usage = msgspec.structs.replace(task.usage, run_s=task.usage.run_s + 1)
                    task.usage = usage
                    task.progress_marks += marks if agent.node == only else 0
        h.run(1)


def dumps(h: Harness) -> int:
    return sum(len(h.sent_to(name, DumpStacks)) for name in h.agents)


def submit(h: Harness) -> JobId:
    number = h.submit(job().gpus(4).nodes(2).retries(1).no_progress(60))
    work(h, 5, marks=1)
    return number


def test_a_gang_without_progress_writes_its_stacks_and_is_tried_again(h: Harness) -> None:
    number = submit(h)
    for node, ref in running(h, number):
        place = RankPlace(
            int(node == "a2"), "train.py:9 in load" if node == "a2" else "t.py:1 in x"
        )
        h.agent(node).tasks[ref].places = (place,)
    work(h, 70, marks=1)
    assert dumps(h) == 0, "one rank reports for all"
    work(h, 63)
    assert dumps(h) == 2, "once to each node"
    assert not h.sent_to("a1", StopTask)
    work(h, int(STACKS_S) + 5)
    (event,) = h.events("hang")
    assert "no progress for 1m of run time (no_progress)" in event.text
    assert "the ranks were in different places (stacks are in the log)" in event.text
    gang = h.job(number).gangs[0]
    ends = [a.record.exit for a in gang.attempts if a.record.attempt == 1]
    assert sorted(len(end.places) for end in ends if end is not None) == [1, 1]
    assert {a.record.state for a in gang.attempts if a.record.attempt == 1} == {"FAILED"}
    work(h, 5, marks=1)
    assert h.state_of(number) == "RUNNING"
    work(h, 60 + int(STACKS_S) + 10)
    assert h.state_of(number) == "FAILED", "its one retry is used up"


def test_places_that_a_program_leaves_at_its_end_are_not_on_record(h: Harness) -> None:
    number = h.submit(job().gpus(4).nodes(2))
    work(h, 5)
    for node, ref in running(h, number):
        h.agent(node).tasks[ref].places = (RankPlace(0, "x" * 8_000),) * 100
    h.end_tasks(code=3)
    attempts = h.job(number).gangs[0].attempts
    assert [a.record.exit and a.record.exit.places for a in attempts] == [(), ()]


def test_progress_and_pauses_are_no_hang(h: Harness) -> None:
    number = submit(h)
    work(h, 62)
    assert dumps(h) == 2
    work(h, 1, marks=1)
    work(h, 50)
    h.run(300)  # its run time stands still, as in a pause
    assert h.state_of(number) == "RUNNING"
    assert not h.events("hang")


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ([], "; no stacks are known"),
        (["x", "x"], "; all ranks were in the same place"),
        (["x", "x", "y", "x"], "; rank 2 was in another place than the others"),
        (["x", "y"], "; the ranks were in different places"),
        (["", "x", "x"], "; rank 0 was in another place than the others"),
        (
            ["y"] * 10 + ["x"] * 11,
            "; ranks 0, 1, 2, 3, 4, 5, 6, 7 and 2 more were in",
        ),
    ],
    ids=range(6),
)
def test_the_rank_in_another_place_is_named(places: list[str], words: str) -> None:
    ranks = [RankPlace(rank, place) for rank, place in enumerate(places)]
    assert places_text(reversed(ranks)).startswith(words)
