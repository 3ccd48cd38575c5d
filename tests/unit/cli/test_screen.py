"""What reaches stdout: plain and whole in a pipe, JSON as asked."""

import json

import pytest

from support.core.list_pages import page_of
from support.core.site_views import busy_site
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
