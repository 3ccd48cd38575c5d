"""A job is given the directory in which it is submitted, unless it says where it starts."""

import io
import os
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from support.core.site_views import attempt, job
from wattline.acts.submit import job_spec
from wattline.client.submit_dir import started_here, this_directory
from wattline.show.job import detail
from wattline_protocol.job.file import JobFileError
from wattline_protocol.job.spec import JobSpec

PLAIN = JobSpec(name="x", command=("true",))


def test_it_is_the_directory_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert started_here(PLAIN) == msgspec.structs.replace(PLAIN, submit_dir=str(tmp_path))


@pytest.mark.parametrize("key", ["workdir", "submit_dir"])
def test_what_the_job_says_counts(key: str) -> None:
    spec = msgspec.structs.replace(PLAIN, **{key: "/data"})
    assert started_here(spec) == spec


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2J", os.fsdecode(b"\xff")])
def test_a_directory_that_no_job_file_could_name_is_left_out(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    assert this_directory() == ""


def test_so_is_one_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert this_directory() == ""


def test_the_same_note_of_many_is_shown_once() -> None:
    one = msgspec.structs.replace(attempt(0, "RUNNING"), note="it started elsewhere")
    attempts = (one, one, attempt(1, "RUNNING"))
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(detail(msgspec.structs.replace(job(7, "x", "RUNNING"), attempts=attempts)))
    text = console.export_text()
    assert text.count("it started elsewhere") == 1
    assert "Note from gpu-01 (2 attempts): it started elsewhere" in text


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("train.py", "import torch\n", "wattline submit -- python "),
        ("train.sh", "hostname\n", "wattline submit -- bash "),  # sbatch needs its first line, too
        ("job.toml", "name = x\n", ""),
    ],
)
def test_a_script_in_place_of_a_job_file_gets_the_line_that_runs_it(
    tmp_path: Path, name: str, text: str, line: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(JobFileError, match=f"{name}:1: not valid TOML") as error:
        job_spec(str(path), (), {})
    hints = error.value.problems[1:]
    assert [line in hint for hint in hints] == [True] * bool(line)
