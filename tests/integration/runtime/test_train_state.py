"""wattline_runtime.train: a resumed run has the numbers of one that was not interrupted."""

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from wattline import task
from wattline_examples.train_sharded import wanted
from wattline_runtime.train.sharded import load_sharded
from wattline_runtime.train.state import State


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("WATTLINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WATTLINE_METRICS", str(tmp_path / "metrics.jsonl"))
    monkeypatch.setenv("WATTLINE_CHECKPOINT_DIR", str(tmp_path / "ckpt"))
    return tmp_path / "ckpt"


class Run:
    """A model with dropout and momentum, trained on noise from every generator."""

    def __init__(self, width: int = 8) -> None:
        self.model = nn.Sequential(nn.Linear(4, width), nn.Dropout(0.5), nn.Linear(width, 1))
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
        self.optimizer, self.schedule = optimizer, schedule
        self.state = State(model=self.model, optimizer=optimizer, schedule=schedule)

    def train(self, steps: int) -> None:
        for _ in range(steps):
            noise = random.random() + np.random.rand()
            loss = (self.model(torch.randn(16, 4)) - noise).square().mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()

    def weights(self) -> torch.Tensor:
        return torch.cat([each.flatten() for each in self.model.parameters()])


@pytest.mark.parametrize("background", [False, True])
def test_weights_equal_those_of_an_undisturbed_run_bit_for_bit(background: bool) -> None:
    first = Run()
    assert first.state.resume() == 0
    first.train(3)
    first.state.save(3, background=background)
    first.train(4)
    random.seed(1)
    torch.manual_seed(2)
    second = Run()
    assert second.state.resume() == 3
    second.train(4)
    assert torch.equal(first.weights(), second.weights())


def test_a_checkpoint_of_another_model_is_passed_over(home: Path) -> None:
    Run(width=8).state.save(1, background=False)
    Run(width=9).state.save(2, background=False)
    assert Run(width=8).state.resume() == 1
    with pytest.raises(task.CheckpointError) as refused:
        Run(width=7).state.resume()
    assert "step 2: its model has another shape: 0.bias is (9,), not (7,)" in str(refused.value)
    assert "step 1: its model has another shape: 0.bias is (8,), not (7,)" in str(refused.value)
    assert Run(width=7).state.resume(from_scratch=True) == 0
    task.save(3, b"no checkpoint of torch")
    assert Run(width=9).state.resume() == 2


GANG = """
import os, sys, random
import torch, torch.distributed as dist
from torch import nn
from wattline_examples.train_sharded import train
from wattline_runtime.train.state import State

torch.set_num_threads(1)
rank = int(os.environ["RANK"])
dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=rank, world_size=2)
state = State(model=nn.Linear(2, 2))
torch.manual_seed(rank)
state.save(1, background=False)
dist.barrier()
drawn = torch.rand(3)
assert state.resume() == 1
assert torch.equal(drawn, torch.rand(3)), "each rank has its own numbers"
os.environ["WATTLINE_CHECKPOINT_DIR"] += "-sharded"
assert train(steps=4, save_every=4) == 0
assert train(steps=6, save_every=6) == 4
dist.destroy_process_group()
"""


def test_shards_of_two_ranks_are_read_by_one(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-c", GANG, str(tmp_path / "store")]
    environment = {**os.environ, "WORLD_SIZE": "2"}
    ranks = [subprocess.Popen(command, env={**environment, "RANK": str(n)}) for n in range(2)]
    assert [rank.wait(100) for rank in ranks] == [0, 0]
    monkeypatch.setenv("WATTLINE_CHECKPOINT_DIR", f"{home}-sharded")
    weight = torch.zeros(6, 4)
    assert load_sharded({"weight": weight}) == 6
    assert torch.allclose(weight, wanted() * (1 - 0.5**6))
    found = task.latest()
    assert found is not None
    assert {path.name for path in found.path.iterdir()} == {
        ".metadata",
        "__0_0.distcp",
        "__1_0.distcp",
    }
