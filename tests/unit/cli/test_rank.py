"""The supervisor of a rank: its copy of the output, and the line that names the failure."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.node.simnode import wait_until
from wattline import rank
from wattline_agent.executor.rank_files import read_failure, read_places, read_rank_log
from wattline_agent.executor.stack_dumps import dump_stacks
from wattline_agent.keeper.logfile import NoLog
from wattline_agent.keeper.processes.tree import marker_of


@given(st.binary(max_size=5 * select.PIPE_BUF))
def test_output_is_passed_on_in_writes_that_do_not_interleave(data: bytes) -> None:
    parts = rank.pieces(data)
    assert b"".join(parts) == data
    assert all(0 < len(part) <= select.PIPE_BUF for part in parts)
    if b"\n" in data and all(len(line) < select.PIPE_BUF for line in data.splitlines()):
        assert all(part.endswith(b"\n") for part in parts[:-1])


def test_the_copy_is_bounded_and_its_offsets_count_all_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_rename = Path.rename

    def rename(old: Path, new: Path) -> Path:
        assert not new.exists(), "ext4 would write the log to disk at once"
        return really_rename(old, new)

    monkeypatch.setattr(Path, "rename", rename)
    log = rank.RankLog(tmp_path / rank.log_name(3), 1)
    whole = b"".join(b"line %d\n" % number for number in range(40_000))
    for at in range(0, len(whole), 10_000):
        log.write(whole[at : at + 10_000])
    on_disk = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert on_disk <= rank.MIN_LIMIT_BYTES + 2 * rank.HEADER_BYTES
    first = read_rank_log(str(tmp_path), 3, 0, 1000)
    assert first.data == whole[first.start : first.start + 1000]
    across = read_rank_log(str(tmp_path), 3, first.start, 10**6)
    assert across.data == whole[first.start :], "both files"
    last = read_rank_log(str(tmp_path), 3, -5, 1000)
    assert (last.data, last.end) == (whole[-5:], len(whole))


@pytest.mark.parametrize("make", ["link", "pipe", "junk", "huge", "negative", "other"])
def test_the_agent_opens_nothing_else_in_a_directory_of_the_task(make: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"0" * rank.HEADER_DIGITS + b"\nsecret")
    folder = tmp_path / "task"
    folder.mkdir()
    path = folder / rank.log_name(0)
    if make == "link":
        path.symlink_to(secret)
    elif make == "pipe":
        os.mkfifo(path)
    elif make == "junk":
        path.write_text("no header\n" * 10)
    elif make in ("huge", "negative"):
        path.write_text("9" * 20 + "\ntext" if make == "huge" else "-" + "1" * 19 + "\ntext")
    with pytest.raises(NoLog, match="rank 0 of this task has written no log"):
        read_rank_log(str(folder), 0, 0, 100)


@pytest.mark.parametrize(
    "more", ["[" * 60_000, "[" * 30_000 + "]" * 30_000, '"\\ud83d"'], ids=["open", "deep", "half"]
)
def test_no_record_of_a_task_ends_the_agent(more: str, tmp_path: Path) -> None:
    text = f'{{"rank": 0, "unix_s": 1.0, "error": "e", "place": "p", "more": {more}}}'
    for name in (rank.FAILURE_FILE, rank.place_name(0)):
        (tmp_path / name).write_text(text)
    read_failure(str(tmp_path))
    read_places(str(tmp_path), 1)


def supervise(folder: Path, code: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    (folder / "program.py").write_text(code)
    ours = {"WATTLINE_TASK_DIR": str(folder), "LOCAL_RANK": "1", "RANK": "5", **environment}
    command = [sys.executable, rank.__file__, "65536", "program.py", "--lr", "1"]
    env = {**os.environ, **ours}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, check=False)


def test_a_rank_ends_as_its_program_and_the_first_failure_stays(tmp_path: Path) -> None:
    code = (
        "import os, sys\nprint(sys.argv[1:])\nsys.stderr.write('bad\\n')\nos.kill(os.getpid(), 9)"
    )
    killed = supervise(tmp_path, code)
    assert (killed.returncode, killed.stdout) == (-9, b"['--lr', '1']\nbad\n")
    assert read_rank_log(str(tmp_path), 1, 0, 1000).data == killed.stdout
    failed = supervise(tmp_path, "raise ValueError('later')", LOCAL_RANK="2", RANK="6")
    assert failed.returncode == 1
    found = read_failure(str(tmp_path))
    assert found is not None
    assert (found.rank, found.error) == (5, "killed by signal 9 (SIGKILL)")


def test_torchs_own_record_of_an_exception_comes_first(tmp_path: Path) -> None:
    error_file = tmp_path / "error.json"
    code = f"""
import json
trace = 'Traceback (most recent call last):\\n  File "t.py", line 7, in step\\n\\x1b[31mE: no\\n'
message = {{"message": "E: no", "extraInfo": {{"py_callstack": trace}}}}
open({str(error_file)!r}, "w").write(json.dumps({{"message": message}}))
raise SystemExit(3)
"""
    assert supervise(tmp_path, code, TORCHELASTIC_ERROR_FILE=str(error_file)).returncode == 3
    found = read_failure(str(tmp_path))
    assert found is not None
    assert found.error == " [31mE: no (t.py:7 in step)", "control characters are removed"


def test_a_record_without_end_is_none(tmp_path: Path) -> None:
    """A task may write it: the failure is then described by its output."""
    file = tmp_path / "error.json"
    for nested in ("[" * 50_000, '{"message": ' * 5_000):
        file.write_text(nested)
        assert rank.error_in_file(file) == ("", "")


def test_a_rank_that_is_stopped_has_not_failed(tmp_path: Path) -> None:
    code = "import os, signal\nos.kill(os.getppid(), signal.SIGTERM)\nraise SystemExit(1)"
    assert supervise(tmp_path, code).returncode == 1
    assert read_failure(str(tmp_path)) is None


def test_a_rank_that_waits_for_one_that_failed_is_killed_soon(tmp_path: Path) -> None:
    """Its handler of the stop never runs, as in a collective."""
    (tmp_path / rank.FAILURE_FILE).write_text("{}")
    (tmp_path / "program.py").write_text(
        "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "os.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(600)"
    )
    code = (
        "from wattline import rank\nrank.PEER_GRACE_S = 0.1\n"
        "rank.end_as(rank.main(65536, ['program.py']))"
    )
    env = {**os.environ, "WATTLINE_TASK_DIR": str(tmp_path), "LOCAL_RANK": "1", "RANK": "5"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / rank.FAILURE_FILE).read_text() == "{}", "it has not failed by itself"


FAULTHANDLER = """Thread 0x00007f01 (most recent call first):
  File "/lib/threading.py", line 327 in wait

Current thread 0x00007f00 (most recent call first):
  File "/job/train.py", line 41 in all_reduce
  File "/job/train.py", line 9 in <module>
"""
PY_SPY = """Process 7: python -u train.py
Python v3.11.9 (/usr/bin/python3.11)

Thread 7 (active): "MainThread"
    all_reduce (/job/train.py:41)
    <module> (/job/train.py:9)
Thread 9 (idle): "Thread-1"
    wait (threading.py:327)
"""


@pytest.mark.parametrize("text", [FAULTHANDLER, PY_SPY], ids=["faulthandler", "py-spy"])
def test_the_place_of_a_rank_is_the_innermost_frame_of_its_main_thread(text: str) -> None:
    assert rank.place_of(f"loss 1\n{text}loss 2\n") == "/job/train.py:41 in all_reduce"
    assert rank.place_of("loss 1\n") == ""


HANGS = """
import os, sys
if os.environ.get("LIBRARY"):
    from wattline import task
def stuck():
    print("ready", flush=True)
    sys.stdin.read()
stuck()
"""


@pytest.mark.parametrize("library", ["yes", ""])
def test_stacks_are_written_on_request_and_the_program_runs_on(
    library: str, tmp_path: Path
) -> None:
    """Without the library the signal would end the program: its log says what is missing."""
    (tmp_path / "program.py").write_text(HANGS)
    path = os.pathsep.join(sys.path)
    ours = {"WATTLINE_TASK_DIR": str(tmp_path), "LOCAL_RANK": "0", "RANK": "4", "PYTHONPATH": path}
    env = {**ours, "LIBRARY": library, "PATH": "/usr/bin:/bin"}
    command = [sys.executable, rank.__file__, "65536", "program.py"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        dump_stacks(marker_of(str(tmp_path)), process.pid, [process.pid])
        first = process.stdout.readline()
        if library:
            wait_until(lambda: len(read_places(str(tmp_path), 1)) == 1, "the place is known")
        process.stdin.close()
        rest = process.stdout.read()
    assert process.returncode == 0
    if library:
        assert b"most recent call first" in first + rest
        assert read_places(str(tmp_path), 1)[0].place.endswith("in stuck")
        assert read_places(str(tmp_path), 1)[0].rank == 4
    else:
        assert first.startswith(b"[wattline: no stacks: install py-spy")
