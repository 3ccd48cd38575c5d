"""A real training job makes room for one of higher priority, and loses nothing of its work."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.programs.cli_site import CliSite

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

STEPS = 400

TRAINING = f"""
import json, random, sys, time
import torch
from wattline import task

out = open(sys.argv[1], "a", buffering=1)
torch.manual_seed(7)
torch.set_num_threads(1)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
data = torch.Generator().manual_seed(11)
first = 0
with task.stoppable():
    if (saved := task.latest()) is not None:
        state = torch.load(saved.path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        data.set_state(state["data"])
        first = saved.step + 1
    for step in range(first, {STEPS}):
        x = torch.randn(32, 8, generator=data)
        loss = ((model(x) - x.sum(dim=1, keepdim=True)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(json.dumps([step, loss.item()]), file=out)
        if len(sys.argv) > 2 and (first, step) == (0, {STEPS // 2}):
            while not task.stop_requested():  # somebody comes
                time.sleep(0.02)
        if task.stop_requested():
            state = {{"model": model.state_dict(), "optimizer": optimizer.state_dict()}}
            task.save(step, lambda path: torch.save({{**state, "data": data.get_state()}}, path))
            task.safe_point()
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[CliSite]:
    """One node, whose work is not protected."""

    def unprotected(site_file: str) -> str:
        return site_file + '\n[timing]\nprotected_run = "0s"\n'

    with CliSite(tmp_path, edit=unprotected) as made:
        made.start_node("n1")
        yield made


def losses(path: Path) -> list[tuple[int, float]]:
    return [
        (int(step), float(loss)) for step, loss in map(json.loads, path.read_text().splitlines())
    ]


def test_a_preempted_training_job_has_the_loss_curve_of_one_that_ran_through(
    site: CliSite, tmp_path: Path
) -> None:
    script = tmp_path / "train.py"
    script.write_text(TRAINING)
    through, in_two = tmp_path / "through.jsonl", tmp_path / "in-two.jsonl"
    wanted = ("--gpus", "8", "--quiet")
    subprocess.run([sys.executable, script, through], cwd=tmp_path, check=True)

    low = ("--priority", "low", "--name", "train")
    training = site.submit(*wanted, *low, "--", sys.executable, str(script), str(in_two), "waits")
    site.until(lambda: in_two.exists() and len(losses(in_two)) > 20, "the training has begun")
    urgent = site.submit(*wanted, "--priority", "high", "--", "true")

    site.until_state(urgent, "COMPLETED")
    ended = site.until_state(training, "COMPLETED")
    assert [one["state"] for one in ended["attempts"]] == ["PREEMPTED", "COMPLETED"]
    curve = losses(through)
    assert [step for step, _ in curve] == list(range(STEPS))
    assert losses(in_two) == curve
    shown = site.wattline("job", training)
    assert "PREEMPTED" in shown
    events = site.wattline("events")
    assert f"is preempted by job {urgent} ('true') of higher priority: it is requeued" in events
