"""Inventories and traces on their way to a fleet."""

import gzip
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from wattline.verbs.catalogue import CATALOGUE
from wattline.verbs.group import Root
from wattline_lab.replay.fleet.ask import Ask
from wattline_lab.replay.fleet.inventory import Host, read_hosts, site_of
from wattline_lab.replay.fleet.mixing import DAY_S, mixed, split
from wattline_lab.replay.fleet.replay import replay_fleet
from wattline_lab.replay.jobs.trace import TraceJob, TraceUnreadable
from wattline_lab.replay.meter import max_min

TRACES = os.environ.get("WATTLINE_TRACES", "")
HEADER = "gpu_model,gpu_capacity_num,cpu_num,node_name\n"
JOBS = "job_id,user,num_gpu,submit_time,model_name,duration,expect_time_list,best_effort\n"
HOSTS = [Host("a", "A10", 1, 128), Host("b", "H800", 8, 192), Host("c", "A800-SXM4-80GB", 8, 128)]


def test_nodes_are_read_by_model(tmp_path: Path) -> None:
    path = tmp_path / "nodes.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write(HEADER + "H800,8,192,7\nA10,1,128,8\nA10,1,126,9\n")
    assert [host.name for host in read_hosts(path)] == ["8", "9", "7"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEADER + "TPU,8,1,0\n", "no watts are known of TPU, of A10"),
        (HEADER, "no nodes"),
        ("a,b\n1,2\n", "not a list of nodes"),
    ],
)
def test_what_is_no_inventory_is_refused_with_its_name(
    tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "nodes.csv"
    path.write_text(text)
    with pytest.raises(TraceUnreadable, match=rf"nodes\.csv.*{says}"):
        read_hosts(path)


def test_all_of_the_tdp_is_enough_for_all_and_less_is_less_of_the_gpus_alone() -> None:
    hosts = [Host(str(number), "A10", 1, 128) for number in range(600)]
    full, part = (site_of(hosts, share) for share in (1.0, 0.6))
    whole_mw = sum(node.nameplate_mw for node in full.nodes)
    budgets = {str(domain.id): domain.budget_mw for domain in full.domains}
    assert budgets["site"] == whole_mw
    gpus_mw = 600 * 150_000 * 1000 / full.nodes[0].psu_efficiency_permille
    assert part.domains[0].budget_mw == pytest.approx(whole_mw - 0.4 * gpus_mw, rel=1e-5)
    assert {domain.id for domain in full.domains} >= {"row-0", "row-1", "rack-0", "rack-18"}
    row_mw = next(domain.budget_mw for domain in part.domains if domain.id == "row-0")
    assert row_mw > 0.6 * budgets["row-0"], "rows have slack"


@pytest.mark.parametrize(
    ("gpus", "tasks"), [(1, (1, 1)), (8, (1, 8)), (12, (2, 6)), (16, (2, 8)), (20, (4, 5))]
)
def test_large_jobs_are_equal_tasks(gpus: int, tasks: tuple[int, int]) -> None:
    assert split(gpus) == tasks


def job(number: int, gpus: int, day: int = 0) -> TraceJob:
    at_s = day * DAY_S + 60.0 * number
    return TraceJob(number, gpus, at_s, 600.0, 1.0, "m", "v", deadline_s=at_s + 900.0)


def test_copies_keep_the_hour_and_the_time_to_the_deadline() -> None:
    jobs = [job(number, 1, day=number % 5) for number in range(50)]
    found = mixed(jobs, HOSTS, copies=3, days=5.0, seed=1)
    assert (len(found.asked), found.left_out) == (150, 0)
    assert len({one.job.account for one in found.asked}) == 3
    assert {one.job.submit_s % DAY_S for one in found.asked} == {j.submit_s % DAY_S for j in jobs}
    assert {(one.job.deadline_s or 0.0) - one.job.submit_s for one in found.asked} == {900.0}
    assert [one.job.submit_s for one in found.asked] == sorted(o.job.submit_s for o in found.asked)
    assert found == mixed(jobs, HOSTS, copies=3, days=5.0, seed=1)
    assert found != mixed(jobs, HOSTS, copies=3, days=5.0, seed=2)


def test_models_are_asked_for_evenly_where_a_node_is_large_enough() -> None:
    jobs = [job(number, gpus) for number, gpus in enumerate([8] * 200 + [1] * 50 + [0, 32])]
    found = mixed(jobs, HOSTS, copies=1, days=1.0, seed=1)
    assert found.left_out == 2, "no GPU, and more nodes than any model has"
    large = [one.model for one in found.asked if one.job.gpus == 8]
    assert 70 < large.count("H800") < 130
    assert "A10" not in large
    assert {one.model for one in found.asked if one.job.gpus == 1} == {"A10"}, "the others are full"


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12), st.integers(0, 200))
def test_a_fair_division_gives_all_and_nobody_more_than_it_asks(
    asks: list[int], total: int
) -> None:
    given_out = max_min([float(ask) for ask in asks], float(total))
    assert given_out.sum() == pytest.approx(min(total, sum(asks)))
    assert all(got <= ask + 1e-9 for got, ask in zip(given_out, asks, strict=True))
    short = [got for got, ask in zip(given_out, asks, strict=True) if got < ask - 1e-9]
    assert all(got == pytest.approx(max(given_out)) for got in short), "who lacks has the most"


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("--budget", "1.5", "a share of the sum of TDP"),
        ("--copies", "0", "give 1 or more"),
        ("--days", "0", "give more than 0"),
        ("--jobs", "nodes.csv", "neither Philly's log"),
        ("--budget", "0.1", "1 jobs wait for watts that the budget never has"),
    ],
)
def test_the_verb_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str, value: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nodes.csv").write_text(HEADER + "A10,1,128,0\n")
    Path("jobs.csv").write_text(JOBS + "0,v,1,0,m,5,9,0\n")
    given_args = {"--nodes": "nodes.csv", "--jobs": "jobs.csv", "--policy": "fifo"}
    given_args |= {"--copies": "1", flag: value}
    args = [word for pair in given_args.items() for word in pair]
    result = CliRunner().invoke(Root(CATALOGUE), ["replay", "fleet", *args])
    assert result.exit_code != 0
    assert says in str(result.exception)


def test_the_verb_prints_what_it_found(tmp_path: Path) -> None:
    nodes, jobs = tmp_path / "nodes.csv", tmp_path / "jobs.csv"
    nodes.write_text(HEADER + "A10,1,128,0\n")
    jobs.write_text(JOBS + "0,v,1,0,m,5,9,0\n1,v,1,0,m,5,9,0\n")
    args = ["--nodes", str(nodes), "--jobs", str(jobs), "--policy", "fifo", "--copies", "1"]
    result = CliRunner().invoke(Root(CATALOGUE), ["replay", "fleet", *args])
    assert result.exit_code == 0, result.output
    assert "1 of 2 missed" in result.output
    assert "1 GPUs on 1 nodes" in result.output


@pytest.mark.skipif(not TRACES, reason="WATTLINE_TRACES names no folder of traces")
def test_an_hour_of_the_public_fleet() -> None:
    nodes = Path(TRACES) / "alibaba-spot-2026-nodes/node_info.csv.gz"
    jobs = Path(TRACES) / "chronus-philly-deadlines/trace_job_Philly_MIX1.csv.gz"
    found = replay_fleet(Ask(nodes, jobs, "wattline", 0.6, copies=1, days=1 / 24), lambda _: None)
    assert (found.nodes, found.gpus) == (4278, 10412)
    assert found.jobs > 10
    assert found.wait_s_mean == pytest.approx(0.0, abs=60.0), "an empty fleet"
