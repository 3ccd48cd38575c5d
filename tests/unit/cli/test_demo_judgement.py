"""How the demo judges: the simulator's record against the budget in force, and the tasks' notes."""

from pathlib import Path

import pytest

from wattline.demo import layout, work
from wattline.demo.starts import StartNote, double_runs, read_starts
from wattline.demo.truth import BudgetChange, domain_seconds, judge, mean_budget_w
from wattline_protocol.job.file import parse_job
from wattline_protocol.site.file import parse_site
from wattline_sim.truth import TruthSample

SHED = [BudgetChange(0.0, 1000.0), BudgetChange(10.5, 700.0), BudgetChange(20.0, 1000.0)]


def sample(end_s: float, wall_w: float) -> TruthSample:
    return TruthSample(end_s, wall_w, (), (), ())


def test_only_seconds_that_every_node_recorded_are_summed() -> None:
    samples = {"a": [sample(1, 100), sample(2, 110)], "b": [sample(2, 200), sample(3, 210)]}
    assert domain_seconds(samples, ["a", "b"]) == {2: 310}


def test_budget_is_averaged_over_the_second_in_which_it_changes() -> None:
    assert mean_budget_w(SHED, 9.0, 10.0) == 1000.0
    assert mean_budget_w(SHED, 10.0, 11.0) == pytest.approx(850.0)
    assert mean_budget_w(SHED, 11.0, 12.0) == 700.0
    assert mean_budget_w(SHED, 19.5, 20.5) == pytest.approx(850.0)


def test_within_budget() -> None:
    verdict = judge({5.0: 1000.0, 6.0: 900.0}, SHED)
    assert (verdict.over_s, verdict.over_after_shed_s, verdict.peak_w) == (0.0, 0.0, 1000.0)


def test_every_second_above_the_budget_counts() -> None:
    verdict = judge({5.0: 1001.0, 15.0: 701.0, 16.0: 699.0}, SHED)
    assert verdict.over_s == 2.0
    assert verdict.worst_over_w == 1.0


def test_second_after_a_shed_is_told_apart() -> None:
    verdict = judge({11.0: 990.0, 12.0: 800.0, 13.0: 690.0}, SHED)
    assert verdict.over_s == 0.0
    assert verdict.over_after_shed_s == pytest.approx(1.0)


def test_grace_ends_after_a_second() -> None:
    assert judge({13.0: 800.0}, SHED).over_s == 1.0


def note(what: str, attempt: int, mono_s: float, *, pid: int = 1, task: int = 0) -> StartNote:
    assert what in ("start", "end")
    return StartNote("start" if what == "start" else "end", 1, task, attempt, 0, pid, mono_s)


def test_attempts_one_after_the_other_are_no_double_run() -> None:
    notes = [note("start", 1, 1), note("end", 1, 2), note("start", 2, 3, pid=2)]
    assert double_runs(notes) == []


def test_same_attempt_started_twice_is_found() -> None:
    notes = [note("start", 1, 1), note("end", 1, 2), note("start", 1, 3, pid=2)]
    assert double_runs(notes) == ["task 1.0 attempt 1 was started twice"]


def test_overlapping_attempts_are_found() -> None:
    notes = [note("start", 1, 1), note("start", 2, 2, pid=2), note("end", 1, 3)]
    assert double_runs(notes) == ["task 1.0 attempt 2 began while attempt 1 had not ended"]


def test_other_tasks_and_ranks_do_not_matter() -> None:
    notes = [note("start", 1, 1), note("start", 1, 1, task=1, pid=2)]
    assert double_runs(notes) == []


def test_notes_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "starts.jsonl"
    assert read_starts(path) == []
    path.write_text('{"what":"start","job":1,"task":2,"attempt":1,"rank":0,"pid":9,"mono_s":1.5}\n')
    assert read_starts(path) == [StartNote("start", 1, 2, 1, 0, 9, 1.5)]


def test_site_of_the_demo_is_valid_and_binds() -> None:
    ports, rules = layout.Ports(7001, 7002, 7003, 7004), 'users = { ops = "nobody" }'
    text = layout.PLAN.site_text(ports, Path("/tmp/x"), rules)
    site = parse_site(text, "demo")
    budgets = {d.id: d.budget_mw for d in site.domains}
    assert sum(node.nameplate_mw for node in site.nodes) > 1.3 * budgets[site.domains[0].id]
    for d in site.domains:
        below = [node.id for node in site.nodes if d.id in site.domains_of(node)]
        assert tuple(below) == layout.PLAN.members(d.id)


def test_jobs_of_the_demo_are_valid(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    files = [
        work.write_training(tmp_path, starts),
        work.write_sweep(tmp_path, starts),
        work.write_service(tmp_path, starts, tmp_path),
    ]
    specs = [parse_job(file.read_text(), str(file)) for file in files]
    assert [spec.kind for spec in specs] == ["training", "batch", "service"]
    assert [spec.gang_count * spec.gang_size for spec in specs] == [2, 16, 2]
