"""The examples of training on a real site: each job file runs to its end, with an interruption."""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

from support.programs.cli_site import CliSite
from wattline_agent.keeper.processes import tree
from wattline_runtime.train.ray_cluster import SHORT_DIR

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240), pytest.mark.xdist_group("training")]

EXAMPLES = Path(__file__).parents[2] / "examples" / "training"
NODES = ("n1", "n2")
RUN = ("elastic", "two_nodes", "unchanged")
FRAMEWORKS = {"hf_trainer": ("transformers", "hf"), "lightning_trainer": ("lightning", "lightning")}
"""Job files that need an extra: what they import, and the directory of their checkpoints."""
RAY = {"ray_data": "on 2 of 2 nodes", "ray_tune": "best rate"}
"""Job files that need Ray, and a part of what they print."""
RAY_PATIENCE_S = 300.0
"""Ray starts some ten processes on each node."""
STEPS_BEFORE = 20
"""So many are done before an interruption."""


class TrainingSite(CliSite):
    """Two nodes with one directory of checkpoints, and a copy of the examples to submit from."""

    def __init__(self, folder: Path) -> None:
        """Of one GPU each."""
        shared = folder / "checkpoints"
        shared.mkdir()
        example = '# checkpoint_root = "/mnt/checkpoints"'

        def edited(text: str) -> str:
            assert example in text
            return text.replace(example, f'checkpoint_root = "{shared}"')

        super().__init__(folder, NODES, edit=edited)
        self.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.examples = folder / "examples"
        shutil.copytree(EXAMPLES, self.examples)

    def submit_example(self, name: str) -> str:
        """Submit its job file as it is, as a user does in its directory; the job's number."""
        file = str(self.examples / f"{name}.toml")
        return self.submit("--submit-dir", str(self.examples), file)

    def steps(self, job: str, attempt: int) -> list[dict[str, float]]:
        """What the first rank has reported after each step of an attempt."""
        files = [self.state(node) / "tasks" / f"{job}.0.{attempt}.metrics.jsonl" for node in NODES]
        written = "".join(file.read_text() for file in files if file.exists())
        whole = written[: written.rfind("\n") + 1]
        rows = [json.loads(line).get("metrics", {}) for line in whole.splitlines()]
        return [row for row in rows if "step" in row]

    def saved_step(self, job: str) -> int:
        """Of the newest checkpoint that is known; 0 = none."""
        newest = json.loads(self.wattline("job", job, "--json"))["checkpoint"]
        return 0 if newest is None else int(newest["step"])

    def until_steps(self, job: str) -> None:
        """Wait until the first attempt has done some."""
        self.until(
            lambda: len(self.steps(job, 1)) >= STEPS_BEFORE, lambda: f"steps: {self.shown(job)}"
        )

    def shown(self, job: str) -> str:
        """The job, for a failure."""
        return self.wattline("job", job)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainingSite]:
    """Two simulated nodes of one GPU each."""
    with TrainingSite(tmp_path_factory.mktemp("training")) as made:
        for node in made.nodes:
            made.start_node(node, gpus=1)
        yield made


def test_two_nodes_lose_no_step_to_a_requeue(site: TrainingSite) -> None:
    job = site.submit_example("two_nodes")
    site.until_steps(job)
    ranks = site.client.job(int(job)).ranks
    assert [rank.rank for rank in ranks] == [0, 1]
    assert {rank.node for rank in ranks} == {"n1", "n2"}
    site.wattline("requeue", job)
    ended = site.until_state(job, "COMPLETED")
    assert_each_step_once(site.steps(job, 1), site.steps(job, 2))
    assert (ended["metrics"]["progress"], ended["checkpoint"]["step"]) == (1, 300)
    assert ended["metrics"]["loss"] < 1.0
    log = site.wattline("logs", job, "--attempt", "1")
    assert "wattline: stopped by SIGTERM; all ranks of this task have ended" in log
    assert "SignalException" not in log, "a stop looks like no failure"
    compared = site.json("runs", "compare", f"{job}#1", f"{job}#2")
    losses = {one["name"]: one for one in compared["metrics"]}["loss"]
    assert losses["b"] < losses["a"]
    assert {"command", "gpu model"} <= set(compared["same"])


def test_an_elastic_job_continues_on_the_node_that_is_left(site: TrainingSite) -> None:
    job = site.submit_example("elastic")
    site.until_steps(job)
    site.wattline("drain", "n2", "--now")
    ended = site.until_state(job, "COMPLETED")
    site.wattline("undrain", "n2")
    on_two, on_one = site.steps(job, 1), site.steps(job, 2)
    assert_each_step_once(on_two, on_one)
    assert {step["ranks"] for step in on_two} == {2}
    assert {step["ranks"] for step in on_one} == {1}
    assert (ended["nodes"], ended["exit_code"], ended["checkpoint"]["step"]) == (["n1"], 0, 320)


def assert_each_step_once(before: list[dict[str, float]], after: list[dict[str, float]]) -> None:
    """The second attempt begins with the step behind the last of the first."""
    steps = [report["step"] for report in (*before, *after)]
    assert steps == list(range(1, len(steps) + 1))
    assert before
    assert after


def test_code_that_knows_nothing_of_wattline_resumes_from_what_it_saved(
    site: TrainingSite,
) -> None:
    job = site.submit_example("unchanged")
    site.until(lambda: site.saved_step(job) >= 100, lambda: f"a checkpoint of {site.shown(job)}")
    site.wattline("requeue", job)
    ended = site.until_state(job, "COMPLETED")
    found = re.search(r"resumed from \S+/out/checkpoint-(\d+)", site.wattline("logs", job))
    assert found is not None
    assert int(found[1]) >= 100
    assert ended["checkpoint"]["step"] == 600


GANG = """
kind = "training"
command = ["sh", "-c", '''
echo "from ${WATTLINE_RESUME_FROM:-nothing}"
[ "$WATTLINE_NODE_RANK" = 1 ] || (mkdir -p out/gang-7 && echo weights >out/gang-7/model)
while [ "$WATTLINE_ATTEMPT" = 1 ]; do sleep 0.1; done
''']

[resources]
nodes = 2
gpus_per_node = 1

[recovery]
checkpoints = "out/gang-*"
"""


def test_all_nodes_of_a_gang_resume_from_what_the_first_has_found(site: TrainingSite) -> None:
    (site.examples / "gang.toml").write_text(GANG)
    job = site.submit_example("gang")
    site.until(lambda: site.saved_step(job) == 7, lambda: f"a checkpoint of {site.shown(job)}")
    site.wattline("requeue", job)
    assert site.until_state(job, "COMPLETED")["checkpoint"]["step"] == 7
    saved = site.examples / "out" / "gang-7"
    for task in ("0", "1"):
        told = [
            site.wattline("logs", job, "--task", task, "--attempt", attempt).splitlines()[0]
            for attempt in ("1", "2")
        ]
        assert told == ["from nothing", f"from {saved}"]


@pytest.mark.parametrize("name", sorted(FRAMEWORKS))
def test_a_framework_saves_at_a_stop_and_resumes_there(site: TrainingSite, name: str) -> None:
    module, folder = FRAMEWORKS[name]
    if find_spec(module) is None:
        pytest.skip(f"{module} is not installed: `make examples-heavy` installs it")
    job = site.submit_example(name)
    saved = site.examples / "out" / folder
    site.until(lambda: any(saved.glob("*")), lambda: f"a checkpoint of {site.shown(job)}")
    site.wattline("requeue", job)
    ended = site.until_state(job, "COMPLETED")
    first, second = (
        re.search(r"resumed from (\S+), ended at step (\d+)", site.wattline("logs", job, *attempt))
        for attempt in (("--attempt", "1"), ())
    )
    assert first is not None
    assert second is not None
    assert first[1] == "None"
    assert re.findall(r"\d+", second[1])[-1] == first[2], "no step is lost to a planned stop"
    assert int(second[2]) == ended["checkpoint"]["step"] > int(first[2])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted(RAY))
def test_ray_runs_over_both_nodes_and_nothing_of_it_stays(site: TrainingSite, name: str) -> None:
    if find_spec("ray") is None:
        pytest.skip("ray is not installed: `make examples-heavy` installs it")
    job = site.submit_example(name)
    ended = site.until_state(job, "COMPLETED", RAY_PATIENCE_S)
    assert (sorted(ended["nodes"]), ended["exit_code"]) == (list(NODES), 0)
    assert RAY[name] in site.wattline("logs", job)
    mark = f"{site.state('n1').parent}/"
    dirs = map(_task_dir, tree.all_processes())
    assert [one for one in dirs if one.startswith(mark) and f"/tasks/{job}." in one] == []
    assert not list(Path(SHORT_DIR).parent.glob(f"{Path(SHORT_DIR).name}*"))


def _task_dir(pid: int) -> str:
    with suppress(OSError):
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return next((v.decode() for v in variables if v.startswith(b"WATTLINE_TASK_DIR=")), "")
    return ""


def test_each_job_file_is_run_here() -> None:
    assert {file.stem for file in EXAMPLES.glob("*.toml")} == {*RUN, *FRAMEWORKS, *RAY}
