"""The log of bodies: which requests, what of them, and for how long."""

import asyncio
import json
import os
import time
from errno import ENOSPC, EROFS
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from wattline_protocol.views.request_logs import LoggedRequest
from wattline_protocol.wire.service_settings import ServiceSettings
from wattline_runtime.gateway.telemetry import body_log as module
from wattline_runtime.gateway.telemetry.body_log import ALL, BodyLog, TakenBodies, sample

HOUR_S = 3600.0
BLANK = ("email", "card", "phone")
CARD = "4111 1111 1111 1111"


def settings(share: float = 1.0, retention_s: float = HOUR_S, **more: Any) -> ServiceSettings:
    given = {"log_blank": BLANK, **more}
    return ServiceSettings(log_share=share, log_retention_s=retention_s, **given)


def request(number: int = 1, service: str | None = "svc") -> LoggedRequest:
    began = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    return LoggedRequest(began, f"{number:016x}", 200, 1.5, service, "shop", 7, owner="ada")


def scope(**headers: str) -> dict[str, Any]:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": "POST", "headers": named}


def passed(
    taken: TakenBodies, body: bytes, *answer: bytes, kind: str = "application/json"
) -> TakenBodies:
    """Let a request and its answer pass."""
    parts = [body[: len(body) // 2], body[len(body) // 2 :]]
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages += [{"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    async def read() -> None:
        receiving = taken.receiving(receive)
        while (await receiving())["type"] == "http.request":
            pass

    asyncio.run(read())
    taken.sent({"type": "http.response.start", "headers": [(b"content-type", kind.encode())]})
    for part in answer:
        taken.sent({"type": "http.response.body", "body": part})
    return taken


def logged(log: BodyLog, taken: TakenBodies | None, line: LoggedRequest | None = None) -> None:
    """Add it, with a body unless one has passed."""
    assert taken is not None
    log.add(line or request(), taken if taken.has_request else passed(taken, b"{}"))
    log.write(log._take(), is_check=False)


def lines(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.rglob("*.jsonl*"))
    return [json.loads(text) for file in files for text in file.read_text().splitlines()]


def test_bodies_are_written_blanked_beside_what_the_access_log_has(tmp_path: Path) -> None:
    log = BodyLog(tmp_path / "bodies")
    log.change_settings({"svc": settings()})
    asked = json.dumps({"input": {"text": f"pay {CARD}", "to": ["a@b.example"]}}).encode()
    logged(log, passed(log.take(scope(), "1") or TakenBodies(""), asked, b'{"output":', b"[1]}"))
    (line,) = lines(tmp_path)
    assert line["request"] == {"input": {"text": "pay [card]", "to": ["[email]"]}}
    assert line["answer"] == {"output": [1]}
    assert (line["service"], line["key"], line["owner"]) == ("svc", "shop", "ada")
    file = tmp_path / "bodies" / "svc" / "3600.jsonl"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_share_of_requests_is_taken_by_their_ids_alone(tmp_path: Path) -> None:
    log, other = BodyLog(tmp_path / "a"), BodyLog(tmp_path / "b")
    for one in (log, other):
        one.change_settings({"svc": settings(0.1), "rare": settings(0.001)})
    ids = [f"{number:016x}" for number in range(4000)]
    taken = [name for name in ids if log.take(scope(), name) is not None]
    assert taken == [name for name in ids if other.take(scope(), name) is not None]
    assert taken == [name for name in ids if sample(name) < ALL / 10]
    assert 300 < len(taken) < 500
    often = next(name for name in taken if sample(name) > ALL / 1000)
    logged(log, TakenBodies(""), LoggedRequest("2026-01-01T00:00:00Z", often, 200, 1.0, "rare"))
    assert lines(tmp_path) == []


def test_nothing_is_taken_of_services_that_want_none(tmp_path: Path) -> None:
    log = BodyLog(tmp_path)
    log.change_settings({"svc": ServiceSettings(cache_ttl_s=1.0)})
    assert log.take(scope(), "1") is None
    log.change_settings({"svc": settings()})
    assert log.take(scope(wattline_log="no"), "1") is None
    assert log.take({**scope(), "method": "GET"}, "1") is None
    logged(log, log.take(scope(), "1"), request(service="other"))
    logged(log, log.take(scope(), "1"), request(service=None))
    assert lines(tmp_path) == []
    log.change_settings({})
    assert log.take(scope(), "1") is None


@pytest.mark.parametrize(
    ("content_type", "body", "why"),
    [
        ("application/octet-stream", b'"4111"', "bytes"),
        ("application/json", b'{"input": "4111 11', "no JSON"),
        ("text/plain", b"\xff\xfe", "no JSON"),
        ("", b'"' + b"x" * module.MAX_BODY_BYTES + b'"', module.TOO_LONG),
    ],
)
def test_what_cannot_be_blanked_is_left_out(
    tmp_path: Path, content_type: str, body: bytes, why: str
) -> None:
    log = BodyLog(tmp_path)
    log.change_settings({"svc": settings()})
    taken = log.take(scope(content_type=content_type), "1")
    assert taken is not None
    logged(log, passed(taken, body, body, kind=content_type))
    (line,) = lines(tmp_path)
    assert "request" not in line
    assert "answer" not in line
    assert (line["request_left_out"], line["answer_left_out"]) == (why, why)
    assert taken.size <= 2 * module.MAX_BODY_BYTES


def test_a_stream_is_blanked_as_one_text(tmp_path: Path) -> None:
    log = BodyLog(tmp_path)
    log.change_settings({"svc": settings()})
    pieces = ["pay 4111 11", "11 1111", " 1111", " now"]
    chunks = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in pieces]
    events = [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks]
    taken = passed(TakenBodies(""), b"{}", *events, b"data: [DONE]\n\n", kind="text/event-stream")
    logged(log, taken)
    logged(log, passed(TakenBodies(""), b"{}", b"data: {not\n\n", kind="text/event-stream"))
    first, second = lines(tmp_path)
    assert first["answer"] == {"choices": [{"index": 0, "text": "pay [card] now"}]}
    assert second["answer_left_out"] == "a stream of another form"


def test_settings_that_cannot_be_met_log_nothing_and_say_so_once(tmp_path: Path) -> None:
    log = BodyLog(tmp_path)
    wrong = {
        "svc": settings(log_blank=("re:(?=a)",)),
        "../up": settings(),
        "odd": settings(log_blank=("names",)),
    }
    with capture_logs() as warned:
        log.change_settings(wrong)
        log.change_settings(dict(wrong))
    assert [one["service"] for one in warned] == ["svc", "../up", "odd"]
    assert {one["event"] for one in warned} == {"bodies_not_logged"}
    assert log.take(scope(), "1") is None
    assert not (tmp_path.parent / "up").exists()
    log.change_settings({"svc": settings()})
    assert log.take(scope(), "1") is not None


def test_files_are_kept_for_their_retention_also_when_the_service_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = BodyLog(tmp_path)
    log.change_settings({"svc": settings(retention_s=7200)})
    logged(log, TakenBodies(""))
    kept = tmp_path / "svc" / "7200.jsonl"
    other = tmp_path / "svc" / "notes.jsonl"
    other.touch()
    log.change_settings({})
    for age_s, is_there in ((3700, True), (7300, False)):
        written_s = time.time() - age_s
        for file in (kept, other):
            os.utime(file, (written_s, written_s))
        log.write([], is_check=True)
        assert kept.exists() is is_there
    assert other.exists()
    log.change_settings({"svc": settings(retention_s=7200)})
    logged(log, TakenBodies(""))
    log.change_settings({"svc": settings(retention_s=3600)})
    os.utime(kept, (time.time() - 3700,) * 2)
    log.write([], is_check=True)
    assert not kept.exists()


def test_a_full_disk_loses_lines_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = BodyLog(tmp_path)
    folder = tmp_path / "svc"
    folder.mkdir()
    (folder / "3600.jsonl").symlink_to("/dev/full")
    monkeypatch.setattr("wattline_runtime.gateway.telemetry.log_file.RETRY_S", 0.0)
    with capture_logs() as warned:
        log.change_settings({"svc": settings()})
        for _ in range(3):
            logged(log, TakenBodies(""))
    assert [one["event"] for one in warned] == ["body_log_stopped"]
    (folder / "3600.jsonl").unlink()
    with capture_logs() as warned:
        logged(log, TakenBodies(""))
        logged(log, TakenBodies(""))
    assert [one["event"] for one in warned] == ["body_log_resumed"]
    assert warned[0]["lost"] >= 3
    assert len(lines(folder)) == 2


@pytest.mark.parametrize("is_there", [True, False], ids=["folder", "no-folder"])
def test_a_service_that_comes_while_the_disk_is_full_is_logged_once_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_there: bool
) -> None:
    folder = tmp_path / "bodies"
    if is_there:
        folder.mkdir(mode=0o700)
    make = Path.mkdir

    def full(path: Path, *args: Any, **options: Any) -> None:
        if not (options.get("exist_ok") and path.is_dir()):
            raise OSError(ENOSPC, "No space left on device")
        make(path, *args, **options)

    monkeypatch.setattr("wattline_runtime.gateway.telemetry.log_file.RETRY_S", 0.0)
    with monkeypatch.context() as patch, capture_logs() as warned:
        patch.setattr(Path, "mkdir", full)
        log = BodyLog(folder)
        log.change_settings({"svc": settings()})
        logged(log, TakenBodies(""))
    assert {one["event"] for one in warned} == {"body_log_stopped"}
    logged(log, TakenBodies(""))
    assert len(lines(folder / "svc")) == 1
    assert [one.stat().st_mode & 0o777 for one in (folder, folder / "svc")] == [0o700, 0o700]


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bodies").touch()
    with pytest.raises(OSError, match=r"body log .*bodies: File exists"):
        BodyLog(tmp_path / "bodies")


def test_a_request_whose_body_was_not_read_has_no_line(tmp_path: Path) -> None:
    log = BodyLog(tmp_path)
    log.change_settings({"svc": settings()})
    log.add(request(), TakenBodies(""))
    assert log._take() == []


async def test_the_end_of_the_gateway_waits_for_few_bodies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = BodyLog(tmp_path)
    log.change_settings({"svc": settings()})
    for _ in range(3):
        taken = TakenBodies("")
        taken._request, taken._request_bytes = [b"{}"], 2
        log.add(request(), taken)
    monkeypatch.setattr(module, "END_S", -1.0)
    running = asyncio.create_task(log.run())
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert lines(tmp_path) == []


def test_bodies_that_wait_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PENDING_BYTES", 50)
    log = BodyLog(tmp_path)
    log.change_settings({"svc": settings()})
    for _ in range(4):
        log.add(request(), passed(TakenBodies(""), b'{"input":"012345"}'))
    log.write(log._take(), is_check=False)
    assert len(lines(tmp_path)) == 2


def test_a_file_that_cannot_be_deleted_stops_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(EROFS, os.strerror(EROFS))

    old = tmp_path / "before" / "3600.jsonl"
    old.parent.mkdir()
    old.write_text("{}\n")
    os.utime(old, (0.0, 0.0))
    log = BodyLog(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", read_only)
        log.write([], is_check=True)
    assert old.exists()
    log.write([], is_check=True)
    assert not old.exists()
