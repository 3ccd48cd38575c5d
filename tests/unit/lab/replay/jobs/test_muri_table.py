"""Published results of Muri's simulator, to the digits that were printed."""

import csv
import os
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner

from wattline.verbs.catalogue import CATALOGUE
from wattline.verbs.group import Root
from wattline_lab.replay.jobs.replay import replay_jobs
from wattline_lab.replay.jobs.trace import TraceUnreadable, read_muri, read_overheads

TRACES = os.environ.get("WATTLINE_TRACES", "")
MURI = Path(TRACES) / "muri-philly-64gpu"
NAMES = {"srtf": "SRTF", "srsf": "SRSF", "tiresias": "Tiresias_L"}

HEADER = "job_id,num_gpu,submit_time,iterations,model_name,batch_size,iteration_time"


def same_digits(value: float, printed: str) -> bool:
    places = Decimal(printed)
    return Decimal(str(value)).quantize(places) == places


def published() -> dict[tuple[str, str], dict[str, str]]:
    """Of each trace and policy."""
    with (MURI / "published_results.csv").open(newline="") as file:
        return {(row["trace"], row["policy"]): row for row in csv.DictReader(file)}


@pytest.mark.skipif(not TRACES, reason="WATTLINE_TRACES names no folder of traces")
@pytest.mark.parametrize("trace", ["trace1", "trace3", "trace4"])
@pytest.mark.parametrize("policy", NAMES)
def test_results_are_the_published_ones(policy: str, trace: str) -> None:
    row = published()[trace, NAMES[policy]]
    found = replay_jobs(MURI / f"{trace}.csv.gz", policy, None)
    assert same_digits(found.jct_s.mean, row["avg_jct_s"]), found.jct_s.mean
    assert same_digits(found.jct_s.p99, row["p99_jct_s"])
    assert same_digits(found.makespan_s, row["makespan_s"])


def test_a_trace_is_read_with_its_overheads(tmp_path: Path) -> None:
    trace, table = tmp_path / "t.csv", tmp_path / "restart_overhead_s.csv"
    trace.write_text(f"{HEADER}\n7,2,4000,10,bert,4,500\n3,1,1000,1,vgg16,16,1000\n")
    table.write_text("num_gpu,model_name,overhead_s\n1,vgg16,7\n")
    first, second = read_muri(trace, read_overheads(table))
    assert (first.id, first.submit_s, first.overhead_s, first.kind) == (3, 1.0, 7.0, "vgg16 16")
    assert second.overhead_s == 10.0, "not in the table"
    assert second.duration_s == pytest.approx(10 * 0.5 * 1.015)


def test_what_is_no_trace_is_refused_with_its_name(tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text("a,b\n1,2\n")
    with pytest.raises(TraceUnreadable, match=r"t\.csv: not a trace in Muri's format"):
        read_muri(trace, {})
    with pytest.raises(TraceUnreadable, match="cannot read"):
        read_muri(tmp_path / "absent.csv.gz", {})
    trace.write_text(f"{HEADER}\n")
    with pytest.raises(TraceUnreadable, match="no jobs"):
        read_muri(trace, {})


def test_the_verb_says_which_file_is_missing(tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text(f"{HEADER}\n7,2,4000,10,bert,4,500\n")
    result = CliRunner().invoke(
        Root(CATALOGUE), ["replay", "jobs", "--trace", str(trace), "--policy", "srtf"]
    )
    assert result.exit_code != 0
    assert "restart_overhead_s.csv" in str(result.exception)


@pytest.mark.skipif(not TRACES, reason="WATTLINE_TRACES names no folder of traces")
@pytest.mark.parametrize("trace", ["trace1", "trace3", "trace4"])
def test_the_learned_order_beats_tiresias(trace: str) -> None:
    """By 30 %, with a p99 no worse than the worse of Tiresias's and SRSF's."""
    found = replay_jobs(MURI / f"{trace}.csv.gz", "learned-preemptive", None)
    tiresias, srsf = (published()[trace, name] for name in ("Tiresias_L", "SRSF"))
    assert found.jct_s.mean < 0.7 * float(tiresias["avg_jct_s"])
    assert found.jct_s.p99 <= max(float(one["p99_jct_s"]) for one in (tiresias, srsf))


@pytest.mark.skipif(not TRACES, reason="WATTLINE_TRACES names no folder of traces")
@pytest.mark.parametrize("trace", ["trace1", "trace3"])
def test_jobs_that_say_how_far_they_are_end_sooner(trace: str) -> None:
    found = replay_jobs(MURI / f"{trace}.csv.gz", "learned-preemptive-progress", None)
    tiresias = published()[trace, "Tiresias_L"]
    assert found.jct_s.mean < 0.7 * float(tiresias["avg_jct_s"])
    assert found.jct_s.p99 < float(tiresias["p99_jct_s"])


def test_each_trace_has_policies_of_its_own(tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text(f"{HEADER}\n7,2,4000,10,bert,4,500\n")
    with pytest.raises(TraceUnreadable, match="srtf, srsf, tiresias, wattline, learned-pre"):
        replay_jobs(trace, "fifo", None)
