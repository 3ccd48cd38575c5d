"""A torchrun gang of two tasks under one keeper: real torch, gloo, one process per GPU."""

import sys
from pathlib import Path

import pytest

from support.node.keepers import CONTEXT, keeper, order, ref
from support.node.simnode import wait_until
from support.programs.ports import free_ports
from wattline_agent.executor.rank_files import read_places
from wattline_protocol.wire.task_order import Rendezvous

PATH = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
TRAIN = """
import os, sys
import torch
import torch.distributed as dist
from wattline import task
dist.init_process_group("gloo")
total = torch.tensor([float(dist.get_rank() + 1)])
dist.all_reduce(total)
if dist.get_rank() == 0:
    task.metric(total=total.item(), world=dist.get_world_size())
print("rank", dist.get_rank(), "of job", task.identity().job, "got", sys.argv[1])
dist.destroy_process_group()
"""


@pytest.mark.timeout(180)
def test_two_tasks_meet_and_reduce(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    port = free_ports()
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    path = {**PATH, "TMPDIR": str(temporary)}
    with keeper(tmp_path) as live:
        for rank in (0, 1):
            task = order(
                "python",
                str(script),
                "--fast",
                of=ref(5, rank),
                env=path,
                launcher="torchrun",
                gpus=(0,),
                rendezvous=Rendezvous("127.0.0.1", port, rank, 2, 1),
            )
            live.runner.launch(task, CONTEXT)
        ends = [live.until_ended(ref(5, rank), 120) for rank in (0, 1)]
        assert [seen.exit.code if seen.exit else None for seen in ends] == [0, 0], [
            live.log(ref(5, rank)) for rank in (0, 1)
        ]
        assert ends[0].metrics == {"total": 3.0, "world": 2.0}
        assert "rank 1 of job 5 got --fast" in live.log(ref(5, 1))
        assert all(seen.group_ended for seen in ends)
        of_rank = live.runner.read_log(ref(5, 1), 0, 10_000, local_rank=0)
        assert of_rank.data == b"rank 1 of job 5 got --fast\n"
    assert list(temporary.glob("torchelastic_*")) == []


FAILS_LATER = """
import os, pathlib, time
mark = pathlib.Path(os.environ["WATTLINE_TASK_DIR"], "failing")
if os.environ["RANK"] == "1":
    mark.touch()
    raise ValueError("bad batch 7")
while not mark.exists():
    time.sleep(0.01)
time.sleep(60)
"""


@pytest.mark.timeout(120)
def test_the_rank_that_fails_first_is_named(tmp_path: Path) -> None:
    """The other one is stopped by torchrun, which is no failure of its own."""
    script = tmp_path / "train.py"
    script.write_text(FAILS_LATER)
    with keeper(tmp_path) as live:
        live.runner.launch(order("python", str(script), env=PATH, launcher="torchrun"), CONTEXT)
        end = live.until_ended(ref(), 60).exit
        assert end is not None
        assert end.first_failure is not None, live.log(ref())
        assert end.first_failure.rank == 1
        assert end.first_failure.error == f"ValueError: bad batch 7 ({script}:6 in <module>)"
        assert b"bad batch 7" in live.runner.read_log(ref(), 0, 10_000, local_rank=1).data
        assert live.runner.read_log(ref(), 0, 10_000, local_rank=2).error


HANGS = """
import os, pathlib, signal, sys, time
from wattline import task
def save(*_):
    folder = pathlib.Path("out/checkpoint-7")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / os.environ["RANK"]).write_text("weights")
    sys.exit(0)
signal.signal(signal.SIGUSR1, save)
def all_reduce():
    time.sleep(600)
def load():
    time.sleep(600)
task.metric(step=1)
print("ready", flush=True)
load() if os.environ["RANK"] == "1" else all_reduce()
"""


@pytest.mark.timeout(120)
def test_a_gang_that_hangs_leaves_the_place_of_each_rank_and_saves_at_its_stop(
    tmp_path: Path,
) -> None:
    """By a signal of its own, that ends no torchrun; and what it saved is found."""
    script = tmp_path / "train.py"
    script.write_text(HANGS)
    with keeper(tmp_path) as live:
        task = order(
            *("python", str(script)),
            env=PATH,
            launcher="torchrun",
            workdir=str(tmp_path),
            stop_signal="USR1",
            checkpoints="out/checkpoint-*",
        )
        live.runner.launch(task, CONTEXT)
        wait_until(lambda: live.log(ref()).count("ready") == 2, "both ranks run")
        wait_until(lambda: live.seen(ref()).progress_marks == 2, "their reports are counted")
        assert sorted(one.rank for one in live.seen(ref()).ranks) == [0, 1]
        live.runner.dump_stacks(ref())
        folder = str(live.task_dir())
        wait_until(lambda: len(read_places(folder, 2)) == 2, "their stacks are written")
        live.runner.stop(ref(), 20.0, "hung")
        seen = live.until_ended(ref(), 60)
        end = seen.exit
        assert end is not None
        assert (end.code, end.first_failure) == (0, None), live.log(ref())
        assert seen.checkpoint is not None
        assert (seen.checkpoint.step, seen.checkpoint.bytes) == (7, 14)
        places = {one.rank: one.place.rpartition(" in ")[2] for one in end.places}
        assert places == {0: "all_reduce", 1: "load"}
        assert live.log(ref()).count("most recent call first") >= 2
