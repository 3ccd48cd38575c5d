"""What reaches stdout: plain and whole in a pipe, JSON as asked."""

import json
import os
import sys
from pathlib import Path

import pytest

from support.core.list_pages import page_of
from support.core.site_views import busy_site
from wattline.main import run
from wattline.show import jobs, screen


def test_pipe_gets_whole_plain_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    screen.put_list(page_of(jobs.LIST, busy_site().jobs), is_wide=False)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert "\x1b" not in "".join(lines)
    assert lines[3].endswith("watts: 2.1 kW missing in rack-r2")
    assert all(line == line.rstrip() for line in lines)


def test_text_and_bytes_are_printed_as_they_are(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    screen.put("[red]12[/red]")
    screen.put(b"raw \xff bytes")
    screen.put(None)
    assert capfdbinary.readouterr().out == b"[red]12[/red]\nraw \xff bytes"


def test_words_are_an_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    screen.put_json("n1 is drained")
    screen.put_json_line("n1 is drained")
    assert capsys.readouterr().out == '{\n  "text": "n1 is drained"\n}\n{"text":"n1 is drained"}\n'


def test_json_is_the_view_itself(capsys: pytest.CaptureFixture[str]) -> None:
    screen.put_json(busy_site().jobs)
    assert [job["name"] for job in json.loads(capsys.readouterr().out)][:2] == [
        "resnet-ablation",
        "sweep",
    ]
    screen.put_json_line(busy_site().events[0])
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out)["seq"] == 1


def test_a_full_disk_is_one_line_and_a_closed_pipe_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("/dev/full").open("w") as full, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", full)
        assert run(["completion", "bash"]) == 1
        full.flush()  # as at exit
    assert capsys.readouterr().err == "wattline: the output: No space left on device\n"
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", pipe)
        assert run(["--help"]) == 0
        pipe.flush()
    assert capsys.readouterr().err == ""


def test_a_stream_that_is_closed_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    assert run(["completion", "bash"]) == 0
    sys.stdout.close()
