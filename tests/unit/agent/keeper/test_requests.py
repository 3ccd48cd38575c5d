"""Requests to start a task: every key checked, every error names it. Records: whole or nothing."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from wattline_agent.keeper.processes.command import NotStarted, resolve_command
from wattline_agent.keeper.records import MAX_RECORD_BYTES, read_record, write_record
from wattline_agent.keeper.spec import BadRequest, ExitRecord, check_key, parse_spec

GOOD: dict[str, Any] = {
    "key": "12.3.1",
    "argv": ["true"],
    "env": {"A": "1"},
    "env_append": {},
    "cwd": "/",
    "rlimits": {"core": 0},
    "cpus": 0,
    "memory_bytes": 0,
    "grace_s": 30,
    "runtime_limit_s": 0.0,
    "lease_until_s": None,
    "log_limit_bytes": 65536,
    "run_as": "",
    "own": [],
    "make": "",
    "pass_env": ["HTTP_PROXY", "NCCL_*"],
    "prefer_cwd": "/srv",
    "stop_signal": 15,
    "env_files": {"KEY": "/run/key"},
}


def test_a_good_request_is_taken() -> None:
    spec = parse_spec(GOOD)
    assert (spec.key, spec.argv, spec.rlimits) == ("12.3.1", ("true",), {"core": 0})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("key", "../1.1"),
        ("key", "1.1"),
        ("key", "1.1.١"),
        ("argv", []),
        ("argv", ["a\0b"]),
        ("argv", "true"),
        ("env", {"A": 1}),
        ("env", {"A": "x\0y"}),
        ("env_append", None),
        ("env_files", {"KEY": None}),
        ("cwd", "relative"),
        ("rlimits", {"cpu": 1}),
        ("rlimits", {"core": -1}),
        ("cpus", True),
        ("cpus", -1),
        ("memory_bytes", 1.5),
        ("grace_s", -1),
        ("grace_s", 10**400),
        ("runtime_limit_s", float("inf")),
        ("grace_s", float("nan")),
        ("lease_until_s", "soon"),
        ("log_limit_bytes", None),
        ("run_as", None),
        ("run_as", "a" * 65),
        ("own", ["relative"]),
        ("own", "/a"),
        ("make", "relative"),
        ("make", "/a\0b"),
        ("prefer_cwd", "srv"),
        ("pass_env", "HTTP_PROXY"),
        ("pass_env", [""]),
        ("pass_env", [1]),
        ("stop_signal", 9),
        ("stop_signal", "USR1"),
        ("stop_signal", [10]),
        ("stop_signal", True),
    ],
)
def test_a_wrong_value_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(BadRequest, match=key):
        parse_spec({**GOOD, key: value})


def test_missing_and_unknown_keys_are_named() -> None:
    with pytest.raises(BadRequest, match="colour"):
        parse_spec({**GOOD, "colour": "red"})
    with pytest.raises(BadRequest, match="argv"):
        parse_spec({name: value for name, value in GOOD.items() if name != "argv"})
    with pytest.raises(BadRequest, match="not a map"):
        parse_spec([GOOD])


@pytest.mark.parametrize("key", [None, 7, "1.2.3.4", "1..3", "a.b.c", "1.2.3/", "9" * 63 + ".1.1"])
def test_only_attempt_names_can_name_a_directory(key: object) -> None:
    with pytest.raises(BadRequest):
        check_key(key)


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    record = ExitRecord("signaled", None, 9, "killed", 1.5, 0.5, 1.0, 0.7, 4096, [12])
    write_record(tmp_path / "log.index", record.to_json())
    assert ExitRecord.from_json(read_record(tmp_path / "log.index")) == record
    assert [path.name for path in tmp_path.iterdir()] == ["log.index"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b" " * (MAX_RECORD_BYTES + 1)])
def test_a_torn_record_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "log.index").write_bytes(content)
    assert read_record(tmp_path / "log.index") is None
    assert read_record(tmp_path / "missing" / "log.index") is None


def test_foreign_json_is_no_exit_record() -> None:
    for text in ("[]", "1", '{"kind": 3}', '{"code": 0}'):
        assert ExitRecord.from_json(json.loads(text)) is None
    whole = ExitRecord("exited", 0).to_json()
    assert set(whole) == {one.name for one in fields(ExitRecord)}
    for name, value in whole.items():
        other = "x" if isinstance(value, int | float) else 10**30
        damaged: list[object] = [[[]], {}, True, -1, other]
        for one in damaged:
            assert ExitRecord.from_json({**whole, name: one}) is None, (name, one)
    newer = {"kind": "exited", "code": 0, "added_later": 1}
    assert ExitRecord.from_json(newer) == ExitRecord("exited", 0)


def make(path: Path, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def test_commands_are_looked_up_as_a_shell_in_that_directory_would(tmp_path: Path) -> None:
    tool = make(tmp_path / "bin" / "tool")
    here = make(tmp_path / "work" / "run.sh")
    cwd = str(here.parent)
    assert resolve_command("tool", f"/nonexistent:{tool.parent}", cwd) == str(tool)
    assert resolve_command("./run.sh", "", cwd) == str(here.parent / "run.sh")
    assert resolve_command("tool", "../bin", cwd) == str(here.parent / "../bin/tool")
    assert resolve_command(str(tool), "", cwd) == str(tool)


def test_why_a_command_is_not_found_is_said(tmp_path: Path) -> None:
    make(tmp_path / "train.py", 0o644)
    with pytest.raises(NotStarted, match=r"write \./train\.py") as found:
        resolve_command("train.py", "/bin", str(tmp_path))
    assert found.value.kind == "not_found"
    with pytest.raises(NotStarted, match="is not executable") as found:
        resolve_command("./train.py", "/bin", str(tmp_path))
    assert found.value.kind == "not_startable"
    with pytest.raises(NotStarted, match="is not executable"):
        resolve_command("train.py", str(tmp_path), "/")
    with pytest.raises(NotStarted, match="does not exist"):
        resolve_command("true", "/bin", str(tmp_path / "gone"))
