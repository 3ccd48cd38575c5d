"""A state directory that was closed is opened to be passed through, and shows nothing more."""

import stat
from pathlib import Path

import pytest

from wattline_agent.executor.state_dir_access import closed_to_others, open_passage


def laid_out(root: Path, mode: int) -> Path:
    state = root / "state"
    for name in ("tasks/1.0.1", "checkpoints/1", "tasklib/wattline", "spool"):
        (state / name).mkdir(parents=True)
        (state / name).chmod(0o755)
    for name in ("agent.state", "tasks/1.0.1.log", "tasks/1.0.1/inside"):
        (state / name).touch()
        (state / name).chmod(0o664)
    (state / "link").symlink_to(root)
    state.chmod(mode)
    return state


def modes(state: Path) -> dict[str, int]:
    return {
        str(path.relative_to(state)): stat.S_IMODE(path.lstat().st_mode)
        for path in sorted(state.rglob("*"))
        if not path.is_symlink()
    }


def test_what_lies_in_a_closed_one_is_closed_before_it_is_opened(tmp_path: Path) -> None:
    state = laid_out(tmp_path, 0o700)
    above = tmp_path.stat().st_mode
    before = modes(state)
    open_passage(state)
    assert stat.S_IMODE(state.stat().st_mode) == 0o711
    changed = {name: mode for name, mode in modes(state).items() if before[name] != mode}
    assert changed == {
        "agent.state": 0o600,
        "spool": 0o700,
        "checkpoints/1": 0o700,
        "tasks/1.0.1": 0o700,
        "tasks/1.0.1.log": 0o600,
    }
    assert tmp_path.stat().st_mode == above, "no link is followed"


def test_a_group_that_could_pass_keeps_what_it_had(tmp_path: Path) -> None:
    state = laid_out(tmp_path, 0o750)
    open_passage(state)
    assert stat.S_IMODE(state.stat().st_mode) == 0o751
    found = modes(state)
    assert (found["agent.state"], found["checkpoints/1"]) == (0o660, 0o750)


@pytest.mark.parametrize("mode", [0o711, 0o755])
def test_one_that_is_open_is_left_alone(tmp_path: Path, mode: int) -> None:
    state = laid_out(tmp_path, mode)
    before = modes(state)
    open_passage(state)
    assert (modes(state), stat.S_IMODE(state.stat().st_mode)) == (before, mode)


def test_what_is_closed_above_it_is_named_from_the_top(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    closed = tmp_path / "open" / "closed"
    (closed / "state").mkdir(parents=True)
    closed.parent.chmod(0o711)
    closed.chmod(0o710)
    assert closed_to_others(closed / "state")[-2:] == [tmp_path, closed]
