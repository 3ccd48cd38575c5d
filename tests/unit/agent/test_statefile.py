"""The agent's files: whole or not at all, private, one agent at a time."""

import shutil
from pathlib import Path

import pytest

from wattline_agent.core.durable import AgentState, LeaseOnFile, UsageState
from wattline_agent.statefile import LOCK_NAME, STATE_NAME, StateDir, StateInUse, StateUnusable
from wattline_protocol.ids import Epoch, Incarnation, Sequence

STATE = AgentState(
    boot_id="b",
    driver_instance="d",
    epoch=Epoch(3),
    instance="s",
    incarnation=Incarnation(7),
    lease=LeaseOnFile(Epoch(3), Incarnation(7), Sequence(11), 5_000_000, (1, 2)),
    idle_mw={"GPU-a": 90_000},
)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    files = StateDir(tmp_path / "state")
    assert files.load_state() is None
    assert files.load_usage() is None
    files.save_state(STATE)
    files.save_usage(UsageState("b", "d", {}, ()))
    files.close()
    again = StateDir(tmp_path / "state")
    assert again.load_state() == STATE
    assert again.load_usage() == UsageState("b", "d", {}, ())
    again.close()


def test_files_are_private(tmp_path: Path) -> None:
    files = StateDir(tmp_path / "state")
    files.save_state(STATE)
    assert (files.path / STATE_NAME).stat().st_mode & 0o777 == 0o600
    assert (files.path / LOCK_NAME).stat().st_mode & 0o777 == 0o600
    assert files.path.stat().st_mode & 0o777 == 0o711
    files.close()


def test_an_agent_that_dies_while_it_saves_leaves_the_old_state(tmp_path: Path) -> None:
    files = StateDir(tmp_path)
    files.save_state(STATE)
    (tmp_path / f"{STATE_NAME}.new").write_bytes(b'{"boot_id": "half')
    assert files.load_state() == STATE
    files.close()


def test_a_second_agent_is_kept_out(tmp_path: Path) -> None:
    files = StateDir(tmp_path)
    with pytest.raises(StateInUse, match="another agent uses"):
        StateDir(tmp_path)
    files.close()
    StateDir(tmp_path).close()


@pytest.mark.parametrize("content", [b"", b"{", b'{"epoch": "three"}', b"\xff\xfe", b"[" * 9999])
def test_a_damaged_file_stops_the_agent_with_a_remedy(tmp_path: Path, content: bytes) -> None:
    files = StateDir(tmp_path)
    (tmp_path / STATE_NAME).write_bytes(content)
    with pytest.raises(StateUnusable, match="move the file away"):
        files.load_state()
    files.close()


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    files = StateDir(tmp_path)
    (tmp_path / STATE_NAME).write_bytes(b" " * (5 * 1024 * 1024))
    with pytest.raises(StateUnusable, match="is over"):
        files.load_state()
    files.close()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateUnusable, match=r"cannot use .*file/state"):
        StateDir(tmp_path / "file" / "state")


def test_a_write_that_fails_is_an_error_and_keeps_the_old_state(tmp_path: Path) -> None:
    files = StateDir(tmp_path)
    files.save_state(STATE)
    (tmp_path / f"{STATE_NAME}.new").mkdir()
    with pytest.raises(StateUnusable, match=r"cannot write .*agent\.state"):
        files.save_state(AgentState())
    assert files.load_state() == STATE
    files.close()


@pytest.mark.parametrize("is_made_anew", [False, True])
def test_a_deleted_directory_stops_the_agent(tmp_path: Path, is_made_anew: bool) -> None:
    files = StateDir(tmp_path / "state")
    shutil.rmtree(files.path)
    if is_made_anew:
        StateDir(files.path).close()
    with pytest.raises(StateUnusable, match=LOCK_NAME):
        files.save_usage(UsageState("b", "d", {}, ()))
    files.close()
