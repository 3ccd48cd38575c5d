"""What a task finds where it starts: its environment, on a site that was made by hand."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.programs.cli_site import CliSite

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("task-surroundings"),
]

RULES = '\n[tasks]\npass_env = ["SITE_*"]\n'


@pytest.fixture(scope="module")
def site() -> Iterator[CliSite]:
    """One node, whose agent was started in an environment that holds what is nobody's business."""
    with (
        pytest.MonkeyPatch.context() as environ,
        tempfile.TemporaryDirectory() as made,
    ):
        for name in ("AWS_SECRET_ACCESS_KEY", "SITE_PROXY", "LC_TIME"):
            environ.setenv(name, "mine")
        with CliSite(Path(made), edit=lambda text: text + RULES) as site:
            site.start_node("n1")
            yield site


def test_a_task_sees_of_the_agents_environment_what_is_named_and_no_more(site: CliSite) -> None:
    assert site.environ["WATTLINE_BUNDLE"], "the agent itself has it"
    job = site.submit("--env", "SEED=1", "--", "/usr/bin/env")
    site.until_state(job, "COMPLETED")
    seen = dict(line.split("=", 1) for line in site.wattline("logs", job).splitlines())
    passed = ("PATH", "LANG", "TZ", "LD_LIBRARY_PATH", "HOME", "USER", "LOGNAME", "SHELL")
    named = ("LC_", "SITE_", "WATTLINE_", "CUDA_", "PYTHON")
    others = {name for name in seen if name not in passed and not name.startswith(named)}
    assert others == {"SEED"}
    assert (seen["SITE_PROXY"], seen["LC_TIME"]) == ("mine", "mine")
    assert "WATTLINE_BUNDLE" not in seen
    assert seen["PATH"] == os.environ["PATH"]


def test_the_readmes_job_file_starts_where_it_was_submitted(
    site: CliSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python train.py` finds the train.py that lies there."""
    (tmp_path / "train.py").write_text("import os; print('trained in', os.getcwd())\n")
    (tmp_path / "job.toml").write_text('command = ["python3", "train.py"]\narray = "0-1"\n')
    monkeypatch.chdir(tmp_path)
    job = site.submit("job.toml", "--gpus", "1")
    shown = site.until_state(job, "COMPLETED")
    assert [one["exit"]["log_tail"] for one in shown["attempts"]] == [
        f"trained in {tmp_path}\n"
    ] * 2
    assert shown["spec"]["submit_dir"] == str(tmp_path)
    assert "Note" not in site.wattline("job", job)


def test_a_script_of_slurm_runs_with_its_directives_and_variables(
    site: CliSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = ["#!/bin/bash", "#SBATCH -J sweep -a 3-5:2", "#SBATCH -t 0:10:00 -o %A_%a.out"]
    body = 'echo "$SLURM_JOB_ID $SLURM_ARRAY_TASK_ID $SLURM_GPUS_ON_NODE $1 $(pwd)"'
    Path("sweep.sh").write_text("\n".join([*lines, body, ""]))
    job = site.submit("sweep.sh", "--", "--lr=1")
    Path("sweep.sh").write_text("#!/bin/bash\nexit 1\n")
    shown = site.until_state(job, "COMPLETED")
    assert (shown["name"], shown["spec"]["limits"]["runtime_s"]) == ("sweep", 600)
    for index in (3, 5):
        said = Path(f"{job}_{index}.out").read_text()
        assert said == f"{job}.{index} {index} 0 --lr=1 {tmp_path}\n"
    assert site.wattline("logs", job) == f"the script writes to {job}_3.out\n"


def test_a_job_of_a_program_starts_where_the_program_runs(
    site: CliSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = site.client.submit(command=["pwd"], gpus=0)
    assert site.client.wait(job).state == "COMPLETED"
    assert site.wattline("logs", str(job)) == f"{tmp_path}\n"


def test_where_the_node_does_not_have_that_it_says_so_now_and_after_a_restart(
    site: CliSite,
) -> None:
    job = site.client.submit(command=["pwd"], gpus=0, submit_dir="/no/such")
    site.until_state(str(job), "COMPLETED")
    said = "Note from n1: it started in its own directory ($WATTLINE_TASK_DIR): /no/such"
    assert said in " ".join(site.wattline("job", str(job)).split())
    assert site.wattline("logs", str(job)).endswith(f"/tasks/{job}.0.1\n")
    site.stop("scheduler")
    site.start_scheduler()
    assert said in " ".join(site.wattline("job", str(job)).split())


def test_a_workdir_that_is_absent_is_the_reason_of_its_end(site: CliSite) -> None:
    job = site.submit("--workdir", "/no/such", "--", "true")
    shown = site.until_state(job, "FAILED")
    assert "the working directory /no/such does not exist" in shown["reason"]


def output_of_run(site: CliSite) -> str:
    return (site.folder / "run.log").read_text()


@pytest.fixture
def foreground(site: CliSite) -> Iterator[CliSite]:
    """Its log is that of one test."""
    (site.folder / "run.log").unlink(missing_ok=True)
    yield site
    site.revive()


def test_a_job_in_the_foreground_survives_a_restart_of_the_scheduler(
    foreground: CliSite, tmp_path: Path
) -> None:
    site, end = foreground, tmp_path / "end"
    line = f"echo begun; until [ -e {end} ]; do sleep 0.1; done; echo ended >&2; kill -USR2 $$"
    site.start("run", "run", "--gpus", "0", "--name", "fg", "--", "sh", "-c", line)
    site.until(lambda: "begun" in output_of_run(site), "its output is shown while it runs")
    site.stop("scheduler", signal.SIGKILL)
    site.start_scheduler()
    end.touch()
    assert site.ended("run") == 128 + signal.SIGUSR2
    said = output_of_run(site).splitlines()
    assert said[0].endswith("(fg).")
    assert [line for line in said if line in ("begun", "ended")] == ["begun", "ended"]


def test_a_signal_cancels_it_with_grace_and_a_second_one_kills(foreground: CliSite) -> None:
    site = foreground
    line = "trap 'echo saving' TERM; echo begun; while :; do sleep 0.1; done"
    site.start("run", "run", "--gpus", "0", "--grace", "30m", "--", "sh", "-c", line)
    site.until(lambda: "begun" in output_of_run(site), "it runs")
    client = site.running("run")
    client.send_signal(signal.SIGINT)
    site.until(lambda: "saving" in output_of_run(site), "it is requested to stop")
    assert client.poll() is None, "the client shows what it still writes"
    client.send_signal(signal.SIGTERM)
    assert site.ended("run") == 128 + signal.SIGINT
