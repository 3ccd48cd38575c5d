"""The examples as real processes: a gang trains, stops, goes on, and what it made is served."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.programs.serving_stack import SERVICE, serving_stack, wait_for
from wattline import task

SMALL = ("--width=16", "--blocks=2", "--learning-rate=0.003")


def start(directory: Path, *args: str, **environment: str) -> subprocess.Popen[bytes]:
    """A program of `wattline_runtime.train` as a task whose files lie in `directory`."""
    return start_script(directory, "-m", *args, **environment)


def start_script(directory: Path, *args: str, **environment: str) -> subprocess.Popen[bytes]:
    """The same for a script."""
    ours = {
        "WATTLINE_JOB": "1",
        "WATTLINE_CHECKPOINT_DIR": str(directory / "checkpoints"),
        "WATTLINE_METRICS": str(directory / "metrics.jsonl"),
        "WATTLINE_STOP_FILE": str(directory / "stop"),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, *args],
        env={**os.environ, **ours, **environment},
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[bytes], within_s: float = 90) -> str:
    """Wait for success; the output."""
    try:
        output, _ = process.communicate(timeout=within_s)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


def metrics(directory: Path) -> dict[str, float]:
    """The newest value of each metric."""
    newest: dict[str, float] = {}
    for line in (directory / "metrics.jsonl").read_text().splitlines():
        newest.update(json.loads(line).get("metrics", {}))
    return newest


def saved_steps(directory: Path) -> list[int]:
    found = task.checkpoints(directory / "checkpoints")
    return [c.step for c in found if isinstance(c, task.Checkpoint)]


def train_with_two_ranks(directory: Path, epochs: int) -> str:
    gang = ("torch.distributed.run", "--nproc-per-node=2", "--standalone")
    module = ("-m", "wattline_examples.train_digits", f"--epochs={epochs}")
    return finish(start(directory, *gang, *module, *SMALL))


def test_a_gang_trains_goes_on_past_a_damaged_checkpoint_and_is_served(tmp_path: Path) -> None:
    finish(start(tmp_path, "wattline_examples.train_digits", "--epochs=4", *SMALL))
    assert saved_steps(tmp_path) == [4, 3, 2]
    newest = task.latest(tmp_path / "checkpoints")
    assert newest is not None
    newest.path.write_bytes(newest.path.read_bytes()[:-1])

    output = train_with_two_ranks(tmp_path, epochs=10)
    assert "skipped" in output
    assert "going on from epoch 3" in output
    reported = metrics(tmp_path)
    assert (reported["world_size"], reported["epoch"], reported["progress"]) == (2, 10, 1)
    assert reported["accuracy"] > 0.9

    (tmp_path / "serving").mkdir()
    with serving_stack(tmp_path / "serving") as stack:
        stack.start_gateway()
        model = "wattline_examples.serve_digits:Digits"
        stack.start_worker(f"--arg=checkpoints={tmp_path / 'checkpoints'}", model=model)
        images, labels = held_out()
        reply = stack.infer({"inputs": images})
        right = sum(o["digit"] == t for o, t in zip(reply.json()["outputs"], labels, strict=True))
        assert right / len(labels) == pytest.approx(reported["accuracy"], abs=0.011)
        reply = stack.infer({"inputs": [images[0], [1, 2, 3]]})
        assert reply.json()["error"]["message"] == (
            "input 1: an input is a list of 64 numbers, not 3 values"
        )
        assert stack.infer({"input": [99] * 64}).status_code == 422
        assert stack.metric("requests_total", service=SERVICE, status="200") == 1


def held_out() -> tuple[list[list[float]], list[int]]:
    from wattline_examples.digits_net import load_split

    _, _, images, labels = load_split()
    return images.tolist(), labels.tolist()


def test_a_stop_notice_ends_training_after_an_epoch_with_everything_saved(
    tmp_path: Path,
) -> None:
    process = start(tmp_path, "wattline_examples.train_digits", "--epochs=5000", *SMALL)
    wait_for(lambda: saved_steps(tmp_path), "the first checkpoint", within_s=60)
    process.terminate()
    output = finish(process, within_s=30)
    last = int(output.strip().splitlines()[-1].split(":")[0].removeprefix("epoch "))
    assert saved_steps(tmp_path)[0] == last == metrics(tmp_path)["epoch"]

    process = start(tmp_path, "wattline_examples.train_digits", "--epochs=9999", "--width=24")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"is of a network of width and blocks [16, 2], not [24, 3]" in said


def test_each_index_of_the_sweep_is_another_point(tmp_path: Path) -> None:
    index = {"WATTLINE_ARRAY_INDEX": "6"}
    output = finish(start(tmp_path, "wattline_examples.sweep_digits", "--epochs=4", **index))
    assert "hidden=112, learning_rate=0.001" in output
    reported = metrics(tmp_path)
    assert (reported["hidden"], reported["learning_rate"]) == (112, 0.001)
    assert reported["accuracy"] > 0.8
    assert reported["progress"] == 1


def test_the_sweeps_points_are_all_different() -> None:
    from wattline_examples.sweep_digits import point

    assert len({point(index) for index in range(40)}) == 40


def test_the_characters_of_a_text_are_learned_with_the_same_weights_in_one_run_or_two(
    tmp_path: Path,
) -> None:
    script = Path(__file__).parents[3] / "examples" / "training" / "char_transformer.py"

    def run(name: str, steps: int) -> str:
        (tmp_path / name).mkdir(exist_ok=True)
        small = ("--width=16", "--layers=1", "--save-every=4", f"--steps={steps}")
        return finish(start_script(tmp_path / name, str(script), *small))

    run("through", 9)
    run("in-two", 6)
    assert saved_steps(tmp_path / "in-two") == [6, 4]
    assert "resumes behind step 6" in run("in-two", 9)
    assert saved_steps(tmp_path / "in-two") == [9, 8, 6]
    assert weights(tmp_path / "in-two") == weights(tmp_path / "through")
    assert metrics(tmp_path / "in-two")["step"] == 9


def weights(directory: Path) -> dict[str, bytes]:
    import torch

    newest = task.latest(directory / "checkpoints")
    assert newest is not None
    net = torch.load(newest.path, weights_only=True)["net"]
    return {name: value.numpy().tobytes() for name, value in net.items()}
