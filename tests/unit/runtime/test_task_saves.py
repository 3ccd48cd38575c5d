"""wattline.task: what is retained, what happens on a full disk, and saves in the background."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from hashlib import sha256
from pathlib import Path

import pytest
from blake3 import blake3

from support.task_home import as_first_attempt
from wattline import task
from wattline.task import background, hashing, manifest, outcome, publisher

FULL = Path("/dev/full")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Checkpoints and copies in memory in directories of this test."""
    as_first_attempt(tmp_path, monkeypatch)
    monkeypatch.setattr(outcome.failures, "in_a_row", 0)
    monkeypatch.setattr(background._helper, "is_memory_short", False)
    return tmp_path / "ckpt"


def reports(home: Path) -> list[dict[str, object]]:
    lines = home.with_name("metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def steps() -> list[int]:
    return [c.step for c in task.checkpoints() if isinstance(c, task.Checkpoint)]


def staged() -> list[Path]:
    return [p for p in Path("/dev/shm").iterdir() if f"-{os.getpid()}-" in p.name]


def test_every_so_many_steps_one_is_kept_for_good() -> None:
    for step in range(0, 100, 10):
        task.save(step, b"x", keep=2, keep_every=40)
    assert steps() == [90, 80, 40, 0]


def test_as_many_files_as_one_likes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(manifest, "sync", synced.append)
    with task.saving(1) as path:
        path.mkdir()
        for number in range(40_000):
            os.close(os.open(f"{path}/{number}", os.O_CREAT))
    assert len(synced) == 40_000 + len(["manifest", "data", "the whole"])
    (home / "00000001-step-1" / "data" / "39999").unlink()
    with pytest.raises(task.CheckpointError, match="39999"):
        task.latest()


@pytest.mark.parametrize("number", [1, 2])
def test_checkpoints_of_earlier_formats_are_read(home: Path, number: int) -> None:
    saved = task.save(3, b"weights", about={"a": 1})
    assert saved is not None
    directory = saved.path.parent
    (directory / manifest.MANIFEST).unlink()
    header = {"format": number, "step": 3, "saved_unix_s": 5.0, "about": {"a": 1}}
    entry = {"name": "data", "bytes": 7, "sha256": sha256(b"weights").hexdigest()}
    if number == 1:
        (directory / "manifest.json").write_text(json.dumps({**header, "files": [entry]}))
    else:
        lines = [json.dumps(one) for one in ({**header, "files": 1, "bytes": 7}, entry)]
        (directory / manifest.MANIFEST).write_text("\n".join(lines) + "\n")
    assert task.latest() == task.Checkpoint(3, saved.path, {"a": 1}, 5.0)
    saved.path.write_bytes(b"WEIGHTS")
    with pytest.raises(task.CheckpointError, match="step 3: ValueError: data does not have the"):
        task.latest()


def test_a_manifest_that_is_nested_without_end_is_damaged(home: Path) -> None:
    saved = [task.save(step, b"weights") for step in (1, 2)]
    assert saved[1] is not None
    (saved[1].path.parent / manifest.MANIFEST).write_text("[" * 200_000 + "\n")
    assert task.latest() == saved[0]


HASHES = pytest.mark.parametrize("algorithm", [*hashing.hashes()])


@HASHES
def test_a_file_is_hashed_in_pieces_of_8_mib_in_their_order(
    home: Path, algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(algorithm, monkeypatch)
    pieces = [bytes([number]) * (8 << 20) for number in range(2)] + [b"rest"]
    content = b"".join(pieces)
    saved = task.save(1, content)
    assert saved is not None
    written = (saved.path.parent / manifest.MANIFEST).read_text().splitlines()
    digests = {
        "sha256": sha256(b"".join(sha256(piece).digest() for piece in pieces)).hexdigest(),
        "blake3": blake3(b"".join(blake3(piece).digest() for piece in pieces)).hexdigest(),
    }
    assert json.loads(written[1]) == {
        "name": "data",
        "bytes": len(content),
        f"pieces_{algorithm}": digests[algorithm],
    }
    with saved.path.open("r+b") as file:
        file.seek(9 << 20)
        file.write(b"\0")
    with pytest.raises(task.CheckpointError, match="checksum"):
        task.latest()


def test_format_3_is_format_4_with_sha_256(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only("sha256", monkeypatch)
    saved = task.save(1, b"weights")
    assert saved is not None
    lines = saved.path.parent / manifest.MANIFEST
    lines.write_text(lines.read_text().replace('"format": 4', '"format": 3'))
    assert task.latest() == saved


def test_a_checkpoint_needs_the_package_of_its_hash(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task.save(1, b"weights")
    only("sha256", monkeypatch)
    with pytest.raises(task.CheckpointError, match="install the package blake3"):
        task.latest()


def only(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine with this hash alone."""
    one = {algorithm: hashing.hashes()[algorithm]}
    for module in (hashing, manifest):
        monkeypatch.setattr(module, "hashes", lambda: one)


def test_what_one_thread_cannot_read_ends_the_others(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    both = hashing.Hashing(tmp_path, ["a", "absent", "a"], threads=2)
    with pytest.raises(FileNotFoundError, match="absent"):
        both.entries()


def test_none_usable_is_an_error_with_each_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    assert task.latest() is None
    for step in (1, 2):
        task.save(step, b"x", about={"width": step})
    other = "it is of a model of another width"
    with pytest.raises(task.CheckpointError, match=f"step 2: {other}; step 1: {other}"):
        task.latest(fits=lambda found: other)
    fitting = task.latest(fits=lambda found: "" if found.about["width"] == 1 else other)
    assert fitting is not None
    assert fitting.step == 1
    assert task.latest(fits=lambda found: other, from_scratch=True) is None
    monkeypatch.setenv("WATTLINE_FROM_SCRATCH", "1")
    assert task.latest(fits=lambda found: other) is None


def test_a_full_disk_ends_no_training(home: Path) -> None:
    task.save(1, b"old")
    for step in (2, 3):
        assert task.save(step, lambda path: FULL.write_bytes(b"x")) is None
    assert steps() == [1]
    assert [p.name for p in home.iterdir()] == ["00000001-step-1"]
    failed = [one for one in reports(home) if one["wattline"] == "save_failed"]
    assert [(one["step"], one["in_a_row"]) for one in failed] == [(2, 1), (3, 2)]
    assert failed[0]["why"] == "OSError: No space left on device"
    task.save(4, b"new")
    task.save(5, lambda path: FULL.write_bytes(b"x"))
    assert reports(home)[-1]["in_a_row"] == 1


def test_a_disk_without_room_for_a_directory_ends_none_either(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task.save(1, b"old")

    usual = Path.mkdir

    def full(self: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        if self.name.startswith(".saving-"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        usual(self, mode, parents, exist_ok)

    monkeypatch.setattr(background, "MEMORY", home / "absent")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "mkdir", full)
        for in_background in (False, True):
            with task.saving(2, background=in_background) as path:
                path.write_bytes(b"new")
        with task.gang_saving(2) as path:
            (path / "rank-0").write_bytes(b"new")
        with pytest.raises(KeyboardInterrupt), task.saving(2):
            raise KeyboardInterrupt
    assert steps() == [1]
    assert [one["wattline"] for one in reports(home)][1:] == ["save_failed"] * 3
    assert task.save(3, b"new") is not None


def test_a_name_of_others_in_memory_ends_no_save() -> None:
    foreign = Path(f"/dev/shm/wattline-0.0.0-{10**11}-{os.getpid():016x}")
    foreign.mkdir()
    try:
        with task.saving(1, background=True) as path:
            path.write_bytes(b"x")
        task.wait_saved()
    finally:
        shutil.rmtree(foreign, ignore_errors=True)
    assert steps() == [1]


def test_a_save_in_the_background_is_complete_when_the_next_begins(home: Path) -> None:
    for step in (1, 2):
        with task.saving(step, background=True, about={"step": step}) as path:
            assert path.parent.parent == Path("/dev/shm")
            (path / "layers").mkdir(parents=True)
            (path / "layers" / "0.bin").write_bytes(b"a" * step)
        assert len(staged()) == 1
    task.wait_saved()
    assert staged() == []
    found = task.latest()
    assert found is not None
    assert (found.step, found.about) == (2, {"step": 2})
    assert (found.path / "layers" / "0.bin").read_bytes() == b"aa"
    assert steps() == [2, 1]
    assert [(one["wattline"], one["step"]) for one in reports(home)] == [
        ("checkpoint", 1),
        ("checkpoint", 2),
    ]


def test_without_memory_the_copy_is_on_the_disk(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(background, "MEMORY", tmp_path / "absent")
    with task.saving(1, background=True) as path:
        assert path.parent.parent == home
        path.write_bytes(b"x")
    task.wait_saved()
    assert steps() == [1]
    assert [p.name for p in home.iterdir()] == ["00000001-step-1"]


def test_a_copy_that_does_not_fit_into_memory_goes_to_the_disk_next_time(home: Path) -> None:
    with task.saving(1, background=True):
        FULL.write_bytes(b"x")
    assert staged() == []
    with task.saving(2, background=True) as path:
        assert path.parent.parent == home
        path.write_bytes(b"x")
    task.wait_saved()
    assert steps() == [2]


def test_an_error_in_the_background_is_raised_by_the_next_save(
    capfd: pytest.CaptureFixture[str],
) -> None:
    nothing = pytest.raises(task.CheckpointError, match="nothing was written")
    with nothing, task.saving(1, background=True):
        pass
    with task.saving(2, background=True) as path:
        path.symlink_to("/etc/hostname")
    with pytest.raises(task.CheckpointError, match=r"step 2 was not saved: .*symbolic link"):
        task.save(3, b"x")
    assert "the checkpoint of step 2 was not saved" in capfd.readouterr().err
    task.save(4, b"x")
    assert steps() == [4]
    assert staged() == []


def test_a_disk_that_is_full_in_the_background_ends_no_training(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    task.save(1, b"old")
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "data").write_bytes(b"new")
    monkeypatch.setattr(publisher, "sync", lambda path: FULL.write_bytes(b"x"))
    request = {"staged": str(copy), "home": str(home), "step": 2, "keep": 1, "keep_every": 0}
    answer = publisher.serve({**request, "about": {}, "copy_s": 0.5, "failures": 1})
    assert (answer["is_full"], answer["failures"]) == (True, 2)
    assert reports(home)[-1]["in_a_row"] == 2
    assert steps() == [1]
    assert [p.name for p in home.iterdir()] == ["00000001-step-1"]


STOPS = """
import os, signal, sys
from wattline import task
with task.stoppable():
    with task.saving(1, background=True) as path:
        path.write_bytes(b"x" * 10_000_000)
    os.killpg(0, signal.SIGTERM)
    task.safe_point()
"""
LEAVES = STOPS.replace("    os.killpg(0, signal.SIGTERM)\n    task.safe_point()\n", "")


@pytest.mark.parametrize("program", [STOPS, LEAVES], ids=["stop", "end"])
def test_a_stop_and_the_end_of_the_program_wait_for_it(program: str) -> None:
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, process_group=0, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert steps() == [1]


def test_the_copy_of_a_killed_program_is_removed_by_the_next_save() -> None:
    code = (
        "import os, signal\nfrom wattline import task\n"
        "with task.saving(1, background=True) as path:\n"
        "    path.write_bytes(b'x')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    assert process.wait(60) == -signal.SIGKILL
    left = [p for p in Path("/dev/shm").iterdir() if f"-{process.pid}-" in p.name]
    assert len(left) == 1
    task.save(2, b"x")
    with task.saving(3, background=True) as path:
        path.write_bytes(b"x")
    task.wait_saved()
    assert not left[0].exists()
    assert steps() == [3, 2]


def test_a_save_in_a_thread_of_its_own_waits_as_well() -> None:
    with task.saving(1, background=True) as path:
        path.write_bytes(b"x")
    both = [threading.Thread(target=task.wait_saved) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(60)
    assert steps() == [1]
