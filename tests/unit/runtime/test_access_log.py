"""The log of requests: lines, rotation, retention, and a disk that is full."""

import json
import os
import time
from errno import ENOSPC
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from wattline_protocol.views.request_logs import LoggedRequest
from wattline_runtime.gateway.telemetry import access_log as waiting
from wattline_runtime.gateway.telemetry import log_file as module
from wattline_runtime.gateway.telemetry.access_log import AccessLog

DAY_S = 86_400.0


def line(number: int = 1) -> LoggedRequest:
    return LoggedRequest(
        "2026-01-01T00:00:00.000+00:00", f"{number:016x}", 200, 1.5, "svc", "shop", 7, 3
    )


def rotated(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.*"))


def test_a_line_has_what_is_known(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(path, DAY_S)
    log.write([line(), LoggedRequest("t", "id", 401, 0.2)])
    log.file.close()
    first, second = (json.loads(text) for text in path.read_text().splitlines())
    assert first == {
        "time": "2026-01-01T00:00:00.000+00:00",
        "id": "0000000000000001",
        "status": 200,
        "latency_ms": 1.5,
        "service": "svc",
        "key": "shop",
        "revision": 7,
        "tokens": 3,
    }
    assert second == {"time": "t", "id": "id", "status": 401, "latency_ms": 0.2}
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_is_rotated_by_size_and_kept_for_its_retention(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 200)
    path = tmp_path / "access.log"
    log = AccessLog(path, 3600)
    for number in range(6):
        log.write([line(number)])
    log.file.close()
    kept = rotated(path)
    assert len(kept) == 2
    texts = [text for one in (*kept, path) for text in one.read_text().splitlines()]
    assert [int(json.loads(text)["id"], 16) for text in texts] == [*range(6)]
    old_s = time.time() - 3700
    os.utime(kept[0], (old_s, old_s))
    AccessLog(path, 3600).write([line()])
    assert kept[0] not in rotated(path)
    assert kept[1] in rotated(path)


def test_another_process_follows_the_one_that_rotates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 100)
    path = tmp_path / "access.log"
    first, second = AccessLog(path, DAY_S), AccessLog(path, DAY_S, rotates=False)
    second.write([line(1)])
    second.write([line(2)])
    assert rotated(path) == []
    first.write([line(3)])
    second.write([line(4)])
    assert len(rotated(path)) == 1
    assert [json.loads(text)["id"][-1] for text in path.read_text().splitlines()] == ["3", "4"]


def test_a_line_of_which_the_disk_took_a_part_spoils_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, write = [300], os.write

    def limited(file: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(ENOSPC, "No space left on device")
        written = write(file, data[: room[0]])
        room[0] -= written
        return written

    path = tmp_path / "access.log"
    log = AccessLog(path, DAY_S)
    monkeypatch.setattr(module, "RETRY_S", 0.0)
    monkeypatch.setattr(os, "write", limited)
    log.write([line(n) for n in range(5)])
    room[0] = 10_000
    log.write([line(9)])
    *whole, torn, after = path.read_text().splitlines()
    assert whole
    assert not torn.endswith("}")
    assert json.loads(after)["id"].endswith("9")


def test_retention_deletes_only_its_own_rotated_files(tmp_path: Path) -> None:
    own, other = tmp_path / "a[1].log.20250101T000000.0Z", tmp_path / "a1.log.20250101T000000.0Z"
    for file in (own, other):
        file.touch()
        os.utime(file, (0, 0))
    AccessLog(tmp_path / "a[1].log", DAY_S).write([line()])
    assert (own.exists(), other.exists()) == (False, True)


def test_a_pipe_without_a_reader_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    os.mkfifo(path)
    with pytest.raises(OSError, match=r"access log .*access\.log: "):
        AccessLog(path, DAY_S)


def test_a_full_disk_stops_the_log_with_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "access.log"
    path.symlink_to("/dev/full")
    with capture_logs() as logged:
        log = AccessLog(path, DAY_S)
        for _ in range(5):
            log.write([line()])
        assert [entry["event"] for entry in logged] == ["access_log_stopped"]
        assert logged[0]["why"] == "No space left on device"
        path.unlink()
        monkeypatch.setattr(log.file, "_retry_at_s", 0.0)
        log.write([line()])
    assert [entry["event"] for entry in logged] == ["access_log_stopped", "access_log_resumed"]
    assert logged[-1]["lost"] == 5
    assert len(path.read_text().splitlines()) == 1


def test_lines_that_wait_for_the_disk_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MAX_PENDING", 3)
    log = AccessLog(tmp_path / "access.log", DAY_S)
    for number in range(5):
        log.add(line(number))
    assert len(log._take()) == 3
    assert log.file._lost == 2


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"access log .*missing/access.log: No such file"):
        AccessLog(tmp_path / "missing" / "access.log", DAY_S)
