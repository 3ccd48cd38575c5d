"""A state directory that fails under the keeper is reported as such, not as a traceback."""

import errno
import os
from pathlib import Path

import pytest

from wattline_agent.core.ports import KeeperAbsent, TaskRunner
from wattline_agent.keeper_link import KeeperLink
from wattline_agent.logs import make_log
from wattline_agent.statefile import StateUnusable


def no_room(state_dir: Path) -> TaskRunner:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(state_dir / "tasklib"))


def test_a_disk_without_room_for_the_runner_is_named(tmp_path: Path) -> None:
    keeper_link = KeeperLink(tmp_path, no_room, make_log(is_json=True))
    with pytest.raises(StateUnusable, match=r"tasklib: No space left on device.*free space"):
        keeper_link.open()
    with pytest.raises(StateUnusable, match="No space left"):
        keeper_link.observe()


def absent(state_dir: Path) -> TaskRunner:
    raise KeeperAbsent(str(state_dir))


def test_a_keeper_that_is_a_service_is_waited_for_and_never_started(tmp_path: Path) -> None:
    keeper_link = KeeperLink(tmp_path, absent, make_log(is_json=True), may_start=False)
    assert keeper_link.observe() is None
    assert not (tmp_path / "keeper.pid").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_host_that_has_no_process_left_for_a_keeper_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object, **__: object) -> int:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("wattline_agent.keeper_link.RETRY_S", 0.0)
    keeper_link = KeeperLink(tmp_path, absent, make_log(is_json=True))
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_spawn", none_left)
        assert keeper_link.observe() is None
        assert not (tmp_path / "keeper.pid").exists()
    started = os.posix_spawn("/bin/true", ["true"], os.environ)
    monkeypatch.setattr(os, "posix_spawn", lambda *_, **__: started)
    assert keeper_link.observe() is None
    assert (tmp_path / "keeper.pid").read_text() == str(started)
    os.waitid(os.P_PID, started, os.WEXITED | os.WNOWAIT)
    monkeypatch.setattr(os, "posix_spawn", none_left)
    for _ in range(2):  # its end is collected once
        assert keeper_link.observe() is None
