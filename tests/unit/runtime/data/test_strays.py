"""What a child of the fetch process leaves behind ends with it, however it was started."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from wattline_runtime.data.columns.reader_process import FileToRead, read_summary
from wattline_runtime.data.fetch import strays

PROGRAM = """
import os, subprocess, sys, time
import psutil
from wattline_protocol.data.requests import DataPlace
from wattline_runtime.data.fetch.account_child import AccountChild
from wattline_runtime.data.fetch.opening import Opening
from wattline_runtime.data.fetch.strays import CHILDREN

START = b"import os, subprocess as s\\n"
LEAVE = b"p = [s.Popen(['sleep', '1000'], start_new_session=n > 0) for n in range(2)]\\n"
SAY = b"_ = os.write(1, b'started\\\\n')\\n"


def sleeping():
    found = psutil.Process().children(recursive=True)
    return [one for one in found if one.name() == "sleep" and one.status() != "zombie"]


CHILDREN.adopt()
other = AccountChild("code", Opening(DataPlace("/nowhere", "")))
child = AccountChild("code", Opening(DataPlace("/nowhere", "")))
for one in (other, child):
    one._link.sendall(START + LEAVE + SAY)
    while b"started" not in one.answers.readline():
        pass
assert len(sleeping()) == 4
child.close()
until = time.monotonic() + 30
while len(sleeping()) > 2 and time.monotonic() < until:
    time.sleep(0.01)
of_other = psutil.Process(other.pid).children(recursive=True)
print(len(sleeping()), len(of_other))
other.close()
"""


def test_what_a_child_has_left_behind_ends_with_it_and_what_others_run_does_not() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == ("2 2\n", 0), done.stderr


def test_a_stray_out_of_reach_keeps_none_below_it_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["sh", "-c", "sleep 1000 & echo; wait"], stdout=subprocess.PIPE) as top:
        assert top.stdout is not None
        top.stdout.readline()
        (below,) = psutil.Process(top.pid).children()
        kill = psutil.Process.kill

        def killed(process: psutil.Process) -> None:
            if process.pid == top.pid:
                raise psutil.AccessDenied(process.pid)
            kill(process)

        with monkeypatch.context() as patched:
            patched.setattr(psutil.Process, "kill", killed)
            strays._end(psutil.Process(top.pid))
        assert top.wait(30) == 0, "the shell ends after what it waited for"
        assert not below.is_running()


def test_a_pipe_in_place_of_a_file_with_columns_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.csv")
    found = read_summary([FileToRead("a.csv", str(tmp_path / "a.csv"))])
    assert found.unreadable == {"a.csv": "it is no file any more"}
