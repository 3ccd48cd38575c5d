"""Virtual clusters and deadlines on schedules made by hand, and Philly's log."""

import os
from pathlib import Path

import pytest

from wattline_lab.replay.jobs.fleet import InOrder, serve
from wattline_lab.replay.jobs.planned import Planned
from wattline_lab.replay.jobs.pool import Nodes
from wattline_lab.replay.jobs.replay import replay_jobs
from wattline_lab.replay.jobs.rules import fifo
from wattline_lab.replay.jobs.trace import TraceJob, TraceUnreadable

TRACES = os.environ.get("WATTLINE_TRACES", "")

JOBS = [
    TraceJob(1, 5, 0.0, 100.0, 1.0, ""),
    TraceJob(2, 8, 1.0, 10.0, 1.0, ""),
    TraceJob(3, 3, 2.0, 50.0, 1.0, ""),
]


@pytest.mark.parametrize(
    ("passes_over", "ends"),
    [(False, {1: 100.0, 2: 110.0, 3: 160.0}), (True, {1: 100.0, 3: 52.0, 2: 110.0})],
)
def test_backfill_passes_over_whom_fifo_waits_for(
    passes_over: bool,
    ends: dict[int, float],
) -> None:
    runs = serve(JOBS, InOrder(Nodes(1, 8), fifo(), passes_over=passes_over), 8).runs
    assert {run.job.id: run.end_s for run in runs} == ends


def test_the_scheduler_reserves_for_a_job_that_has_waited() -> None:
    """Job 3 passes over job 2, which has just been submitted; job 4, submitted later, does not."""
    last = TraceJob(4, 3, 90.0, 50.0, 1.0, "")
    runs = serve([*JOBS, last], Planned(1), 8).runs
    assert {run.job.id: run.end_s for run in runs} == {1: 100.0, 3: 52.0, 2: 110.0, 4: 160.0}


def test_gpus_come_back_to_the_nodes_they_were_taken_from() -> None:
    nodes = Nodes(2, 8)
    large = nodes.place(12)
    assert large == ((0, 8), (1, 4))
    assert nodes.place(5) is None
    nodes.give_back(large)
    assert nodes.place(16) == ((0, 8), (1, 8))


def test_virtual_clusters_do_not_lend(tmp_path: Path) -> None:
    (tmp_path / "vc_nodes.csv").write_text("vc,node num\na,1\nb,1\n")
    trace = tmp_path / "jobs.csv"
    trace.write_text("submit_s,duration_s,num_gpus,vc\n0,10,8,a\n0,10,8,a\n0,10,8,c\n0,10,9,b\n")
    found = replay_jobs(trace, "fifo", None)
    assert (found.jobs, found.left_out) == (2, 2), "one of an unknown cluster, one too large"
    assert found.makespan_s == 20.0
    with pytest.raises(TraceUnreadable, match="fifo, backfill, wattline, learned"):
        replay_jobs(trace, "srtf", None)


def test_deadlines_are_relative_to_submission_in_minutes(tmp_path: Path) -> None:
    trace = tmp_path / "jobs.csv"
    head = "job_id,user,num_gpu,submit_time,model_name,duration,expect_time_list,best_effort"
    rows = ["0,v,1,10,m,5,5,0", "1,v,1,10,m,5,4,0", "2,v,1,10,m,5,1,1", "3,v,0,10,m,5,9,0"]
    trace.write_text("\n".join([head, *rows]) + "\n")
    found = replay_jobs(trace, "fifo", None)
    assert (found.deadlines, found.deadline_misses, found.left_out) == (2, 1, 1)
    assert found.jct_s.mean == 300.0


@pytest.mark.skipif(not TRACES, reason="WATTLINE_TRACES names no folder of traces")
def test_philly_is_read_whole() -> None:
    found = replay_jobs(Path(TRACES) / "philly-2017/jobs_2017-09_to_10.csv.gz", "fifo", None)
    assert found.jobs + found.left_out == 52_849
    assert found.jct_s.mean > 12_000


def test_gpus_are_stranded_while_fifo_waits_for_a_large_job() -> None:
    late = TraceJob(4, 1, 100.0, 1.0, 1.0, "")
    counted = serve([*JOBS, late], InOrder(Nodes(1, 8), fifo(), passes_over=False), 8).meters[0]
    assert counted.stranded_gpu_s == 3 * 99.0, "three are free from 1 s on, and wanted"


def test_clusters_of_their_own_leave_nothing_to_divide(tmp_path: Path) -> None:
    (tmp_path / "vc_nodes.csv").write_text("vc,node num\na,1\nb,1\n")
    trace = tmp_path / "jobs.csv"
    trace.write_text("submit_s,duration_s,num_gpus,vc\n0,10,8,a\n0,10,8,a\n0,10,1,b\n8,1,1,b\n")
    found = replay_jobs(trace, "fifo", None)
    assert found.share_error_pct is not None
    assert found.share_error_pct.max == 0.0
    assert found.stranded_gpus == 0.0
