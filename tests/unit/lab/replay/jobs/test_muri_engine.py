"""The event engine and the published rules on schedules made by hand."""

from collections.abc import Sequence

import pytest

from wattline_lab.replay.jobs.learned import Learned
from wattline_lab.replay.jobs.muri import Kept, Refilled, Rule, replay
from wattline_lab.replay.jobs.planned import Planned
from wattline_lab.replay.jobs.pool import Counted, Nodes, Pool
from wattline_lab.replay.jobs.result import report
from wattline_lab.replay.jobs.rules import Tiresias, srsf, srtf
from wattline_lab.replay.jobs.trace import TraceJob


def job(number: int, *, at: float, gpus: int, runs_s: float, overhead_s: float = 0.0) -> TraceJob:
    return TraceJob(number, gpus, at, runs_s, 1.0, "resnet 32", overhead_s=overhead_s)


def ends(jobs: Sequence[TraceJob], pool: Pool, rule: Rule) -> dict[int, float]:
    return {run.job.id: run.end_s for run in replay(jobs, Refilled(pool, rule))}


def test_a_shorter_job_sends_a_longer_one_back() -> None:
    jobs = [job(1, at=0, gpus=8, runs_s=100), job(2, at=10, gpus=8, runs_s=20)]
    assert ends(jobs, Nodes(1, 8), srtf()) == {2: 30.0, 1: 120.0}


def test_what_counts_for_srsf_is_time_times_gpus() -> None:
    jobs = [job(1, at=0, gpus=8, runs_s=30), job(2, at=10, gpus=1, runs_s=100)]
    assert ends(jobs, Nodes(1, 8), srtf()) == {1: 30.0, 2: 130.0}
    assert ends(jobs, Nodes(1, 8), srsf()) == {2: 110.0, 1: 130.0}


def test_every_interval_costs_every_running_job_the_overhead_but_not_the_last() -> None:
    """Job 1 loses 5 of the 10 s before the arrival beside it, and nothing in its last interval."""
    jobs = [job(1, at=0, gpus=4, runs_s=40, overhead_s=5), job(2, at=10, gpus=4, runs_s=90)]
    assert ends(jobs, Nodes(1, 8), srtf()) == {1: 45.0, 2: 100.0}


def test_an_interval_shorter_than_the_overhead_brings_nothing_and_takes_nothing() -> None:
    jobs = [job(1, at=0, gpus=4, runs_s=40, overhead_s=5), job(2, at=3, gpus=4, runs_s=90)]
    assert ends(jobs, Nodes(1, 8), srtf())[1] == 43.0


def test_an_end_and_an_arrival_at_the_same_time_are_one_event_the_end_first() -> None:
    jobs = [job(1, at=0, gpus=8, runs_s=10), job(2, at=10, gpus=8, runs_s=5)]
    assert ends(jobs, Nodes(1, 8), srtf()) == {1: 10.0, 2: 15.0}


def test_what_does_not_fit_is_passed_over() -> None:
    jobs = [
        job(1, at=0, gpus=5, runs_s=10),
        job(2, at=1, gpus=4, runs_s=20),
        job(3, at=2, gpus=3, runs_s=30),
    ]
    assert ends(jobs, Nodes(1, 8), srtf()) == {1: 10.0, 2: 30.0, 3: 32.0}


def test_a_job_within_a_node_needs_one_with_room() -> None:
    pool = Nodes(2, 8)
    assert pool.take(5)
    assert pool.take(5)
    assert not pool.take(4), "6 are free, on two nodes"
    assert pool.take(3)
    assert pool.free == 3


def test_a_large_job_takes_whole_nodes_and_a_part_of_one_more() -> None:
    pool = Nodes(3, 8)
    assert pool.take(1)
    assert not pool.take(24)
    assert not pool.take(17 + 7), "two whole nodes and 8 on the third, which has 7"
    assert pool.take(20)
    assert pool.free == 3
    pool.empty()
    assert pool.free == 24


def test_a_job_that_fits_nowhere_is_an_error() -> None:
    with pytest.raises(ValueError, match="1 jobs never fit"):
        replay([job(1, at=0, gpus=9, runs_s=1)], Refilled(Nodes(1, 8), srtf()))


def test_tiresias_moves_a_job_down_after_its_service_in_whole_seconds() -> None:
    """3250 GPU-seconds on 8 GPUs are 406.25 s: the event comes after 407."""
    jobs = [job(1, at=0, gpus=8, runs_s=1000), job(2, at=100, gpus=8, runs_s=50)]
    assert ends(jobs, Counted(8), Tiresias()) == {2: 457.0, 1: 1050.0}


def test_of_one_queue_tiresias_lets_run_who_runs() -> None:
    jobs = [job(1, at=0, gpus=8, runs_s=300), job(2, at=100, gpus=8, runs_s=50)]
    assert ends(jobs, Counted(8), Tiresias()) == {1: 300.0, 2: 350.0}


def test_the_last_queue_of_tiresias_is_first_come_first_served() -> None:
    """Both had their 7200 GPU-seconds (900 s on 8 GPUs), the first one first."""
    jobs = [job(1, at=0, gpus=8, runs_s=2000), job(2, at=1, gpus=8, runs_s=1000)]
    ended = ends(jobs, Counted(8), Tiresias())
    assert ended[1] < ended[2] == 3000.0


def test_the_report_counts_waits_and_held_time() -> None:
    jobs = [job(1, at=10, gpus=8, runs_s=10), job(2, at=10, gpus=4, runs_s=20)]
    found = report("srtf", replay(jobs, Refilled(Nodes(1, 8), srtf())), 8)
    assert (found.jobs, found.jct_s.mean, found.makespan_s) == (2, 20.0, 40.0)
    assert found.utilisation == pytest.approx((80 + 80) / (8 * 30), abs=1e-4)
    assert found.wait_s_by_size == {"4": 10.0, "8": 0.0}
    assert (found.jct_s.p50, found.jct_s.p99) == (30.0, 30.0)


def test_the_learned_order_does_not_look_at_durations() -> None:
    """Two jobs that differ only in how long they will run keep the order of their submission."""
    for first_s, second_s in ((500.0, 50.0), (50.0, 500.0)):
        jobs = [job(1, at=0, gpus=8, runs_s=first_s), job(2, at=1, gpus=8, runs_s=second_s)]
        ended = ends(jobs, Nodes(1, 8), Learned())
        assert ended == {1: first_s, 2: first_s + second_s}


def test_the_learned_order_sends_back_who_had_more() -> None:
    jobs = [job(1, at=0, gpus=8, runs_s=9000), job(2, at=5000, gpus=4, runs_s=100)]
    assert ends(jobs, Nodes(1, 8), Learned()) == {2: 5100.0, 1: 9100.0}


def test_the_next_of_its_size_is_taken_to_run_as_long_and_sends_nobody_back() -> None:
    jobs = [job(1, at=0, gpus=8, runs_s=9000), job(2, at=5000, gpus=8, runs_s=100)]
    assert ends(jobs, Nodes(1, 8), Learned()) == {1: 9000.0, 2: 9100.0}


def test_who_says_how_far_it_is_is_known_to_end_soon() -> None:
    """Of two that ran as long the one that said it is nearly done goes on; without a word it waits
    for one that had less."""
    jobs = [job(1, at=0, gpus=8, runs_s=8_000), job(2, at=7_900, gpus=4, runs_s=10_000)]
    assert ends(jobs, Nodes(1, 8), Learned(hears_progress=True))[1] == pytest.approx(8_000.0)
    assert ends(jobs, Nodes(1, 8), Learned())[1] > 8_000.0


def test_the_scheduler_preempts_no_work_of_equal_priority() -> None:
    jobs = [job(1, at=0, gpus=8, runs_s=9000), job(2, at=5000, gpus=4, runs_s=100)]
    ended = {run.job.id: run.end_s for run in replay(jobs, Kept(Planned(1)))}
    assert ended == {1: 9000.0, 2: 9100.0}


def test_the_scheduler_pays_the_overhead_of_the_protocol_as_well() -> None:
    jobs = [job(1, at=0, gpus=4, runs_s=40, overhead_s=5), job(2, at=10, gpus=4, runs_s=90)]
    assert {run.job.id: run.end_s for run in replay(jobs, Kept(Planned(1)))} == {1: 45.0, 2: 100.0}
