"""The HTTP door of a real scheduler: grid events in, clear refusals out."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from support.core.sites import site
from support.programs.live_scheduler import (
    SchedulerProcess,
    SiteDirectory,
    WireClient,
    free_endpoints,
    until,
)
from wattline_protocol.job.spec import CountRange, JobSpec, ServiceSpec, Slo
from wattline_protocol.site.model import HttpApi
from wattline_protocol.views.site_views import DomainView
from wattline_protocol.wire.client_messages import (
    Events,
    GetPower,
    ListEvents,
    Power,
    Submit,
    Submitted,
)
from wattline_scheduler.shell.http_api.http_server import LIMITS, METRICS

TOKEN = "a-token-of-more-than-twenty-characters"
PATH = "/v1/grid-events"


def iso(in_s: float) -> str:
    return datetime.fromtimestamp(time.time() + in_s, UTC).isoformat()


def event(**changes: Any) -> dict[str, Any]:
    usual = {"id": "dr-1", "start": iso(60), "duration": "3h", "shed": "25%", "reason": "peak"}
    return {k: v for k, v in (usual | changes).items() if v is not None}


@pytest.fixture
def directory(tmp_path: Path) -> SiteDirectory:
    token = tmp_path / "grid.token"
    token.write_text(TOKEN + "\n", encoding="utf-8")
    token.chmod(0o600)
    listen = free_endpoints(1)[0].removeprefix("tcp://")
    plain = site().rack("a", 1).build()
    door = HttpApi(listen, str(token), "aggregator")
    return SiteDirectory(tmp_path / "site", msgspec.structs.replace(plain, http=door))


@pytest.fixture
def door(directory: SiteDirectory, scheduler: SchedulerProcess) -> Iterator[httpx.Client]:
    del scheduler
    assert directory.site.http is not None
    headers = {"authorization": f"Bearer {TOKEN}"}
    url = f"http://{directory.site.http.listen}"
    with httpx.Client(base_url=url, headers=headers, timeout=15, trust_env=False) as client:
        yield client


def top(directory: SiteDirectory) -> DomainView:
    with WireClient(directory.bundle("ada")).welcomed() as ada:
        power = ada.ask(GetPower())
        assert isinstance(power, Power)
        return power.domains[0]


def audit(directory: SiteDirectory, kind: str) -> list[str]:
    with WireClient(directory.bundle("ada")).welcomed() as ada:
        events = ada.ask(ListEvents())
        assert isinstance(events, Events)
        return [f"{e.actor}: {e.text}" for e in events.events if e.kind == kind]


def test_metrics_of_services_are_read_with_the_token(
    directory: SiteDirectory, door: httpx.Client
) -> None:
    nothing = door.get("/metrics")
    assert (nothing.status_code, "wattline_service_replicas{" in nothing.text) == (200, False)
    scaled = ServiceSpec(CountRange(2, 8), slo=Slo(0.2))
    service = JobSpec("echo", ("true",), kind="service", service=scaled)
    with WireClient(directory.bundle("ada")).welcomed() as ada:
        assert isinstance(ada.ask(Submit(service, "once")), Submitted)
    shown = door.get("/metrics")
    assert shown.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'wattline_service_replicas{number="wanted",service="echo"} 2.0' in shown.text
    refused = door.get("/metrics", headers={"authorization": "Bearer no"})
    assert (refused.status_code, refused.json()["error"]["reason"]) == (401, "not_allowed")


def test_an_event_is_announced_listed_and_cancelled(
    directory: SiteDirectory, door: httpx.Client
) -> None:
    once = event()
    announced = door.post(PATH, json=once)
    assert announced.status_code == 200
    assert "event dr-1 limits the budget" in announced.json()["text"]
    (listed,) = door.get(PATH).json()["grid_events"]
    assert (listed["id"], listed["phase"], listed["announced_by"]) == (
        "dr-1",
        "planned",
        "aggregator",
    )
    assert "already announced" in door.post(PATH, json=once).json()["text"]
    assert door.post(PATH, json=once | {"shed": "30%"}).status_code == 409
    assert door.delete(f"{PATH}/dr-1").status_code == 200
    assert door.get(PATH).json()["grid_events"][0]["phase"] == "cancelled"
    assert door.post(PATH, json=once).status_code == 409
    assert audit(directory, "grid_event_planned")[0].startswith("aggregator: ")
    assert audit(directory, "grid_event_cancelled") == [
        "aggregator: site: event dr-1 is cancelled (by HTTP)"
    ]


def test_an_event_that_begins_now_lowers_the_budget(
    directory: SiteDirectory, door: httpx.Client
) -> None:
    full_w = top(directory).budget_w
    door.post(PATH, json=event(start=None, shed=None, limit="400kW")).raise_for_status()
    until(lambda: top(directory).budget_w == 400_000, "the lower budget")
    (limit,) = top(directory).limits
    assert (limit.source, limit.requester, limit.why) == ("event", "aggregator", "peak")
    door.delete(f"{PATH}/dr-1").raise_for_status()
    assert top(directory).budget_w == full_w


def test_a_restart_in_the_middle_keeps_the_event(
    directory: SiteDirectory, state: Path, scheduler: SchedulerProcess, door: httpx.Client
) -> None:
    door.post(PATH, json=event(start=None, duration="20s")).raise_for_status()
    until(lambda: top(directory).budget_w == 750_000, "the lower budget")
    scheduler.kill()
    with SchedulerProcess(directory.path, state).ready():
        assert top(directory).budget_w == 750_000
        assert "already announced" in door.post(PATH, json=event(start=None)).json()["text"]
        until(lambda: top(directory).budget_w == 1_000_000, "its end", within_s=40)
        assert len(audit(directory, "budget_restored")) == 1


def test_without_the_token_nothing_is_told(door: httpx.Client) -> None:
    del door.headers["authorization"]
    for shown in (None, "", "Bearer wrong", "Basic " + TOKEN, "Bearer ü"):
        headers = [] if shown is None else [(b"authorization", shown.encode())]
        for answer in (
            door.post(PATH, json=event(), headers=headers),
            door.get(PATH, headers=headers),
            door.delete(f"{PATH}/dr-1", headers=headers),
        ):
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "Authorization: Bearer TOKEN" in answer.json()["error"]["message"]


def test_wrong_tokens_are_among_the_acts(directory: SiteDirectory, door: httpx.Client) -> None:
    door.headers["authorization"] = "Bearer wrong"
    for _ in range(3):
        assert door.get(PATH).status_code == 401
    until(lambda: len(acts(directory, "act_refused")) == 3, "wrong tokens on record")
    assert acts(directory, "act_refused")[0] == "http door: token from 127.0.0.1: is wrong"
    assert acts(directory, "members_known"), "who may connect is on record since the first start"


def acts(directory: SiteDirectory, kind: str) -> list[str]:
    with WireClient(directory.bundle("ada")).welcomed() as ada:
        events = ada.ask(ListEvents(acts=True))
        assert isinstance(events, Events)
        return [f"{e.actor}: {e.text}" for e in events.events if e.kind == kind]


def test_what_is_no_event_is_refused_in_words(door: httpx.Client) -> None:
    for body, status, words in (
        (b"{not json", 400, "expected JSON such as"),
        (b"[" * 10_000, 400, "expected JSON such as"),
        (event(id="no good/"), 400, "the id 'no good/' of the event"),
        (event(domain="pdu-z"), 404, "there is no domain 'pdu-z'"),
        (event(start=iso(-9e6), duration="1h"), 400, "is in the past"),
    ):
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        answer = door.post(PATH, content=content)
        assert answer.status_code == status
        assert words in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reason": "\x1b[2J"}, "reason holds the control character U+001B"),
        ({"id": "dr\u202e"}, "id holds the control character U+202E"),
        ({"domain": "a\nb"}, "domain holds the control character U+000A"),
        ({"id": "x" * 500}, "id"),
    ],
)
def test_texts_have_the_bounds_of_those_of_other_clients(
    door: httpx.Client, changes: dict[str, str], words: str
) -> None:
    answer = door.post(PATH, json=event(**changes))
    error = answer.json()["error"]
    assert (answer.status_code, error["reason"], words in error["message"]) == (
        400,
        "bad_request",
        True,
    ), error
    assert door.delete(f"{PATH}/a%1b").status_code == 400


def test_a_body_too_large_is_refused_before_it_is_read(door: httpx.Client) -> None:
    answer = door.post(PATH, content=b" " * 1_000_000)
    assert answer.headers["connection"] == "close", "no request goes on a connection that is cut"
    assert answer.status_code == 413
    assert "at most 16384 bytes" in answer.json()["error"]["message"]
    assert door.get(PATH).status_code == 200


def test_other_routes_are_named(door: httpx.Client) -> None:
    for method, path, status in (
        ("GET", "/", 404),
        ("PUT", PATH, 405),
        ("DELETE", f"{PATH}/nothing", 404),
        ("GET", f"{PATH}/", 404),
        ("GET", f"{METRICS}/", 404),
    ):
        answer = door.request(method, path)
        assert answer.status_code == status
        assert answer.json()["error"]["message"]


def test_idle_connections_and_garbage_do_not_disturb(
    directory: SiteDirectory, door: httpx.Client
) -> None:
    assert directory.site.http is not None
    host, _, port = directory.site.http.listen.partition(":")
    idle = [socket.create_connection((host, int(port))) for _ in range(10)]
    with socket.create_connection((host, int(port))) as rude:
        rude.sendall(b"\x00\xff" * 1000 + b"\r\n\r\n")
        assert rude.recv(16).startswith(b"HTTP/1.1 400")
    assert door.get(PATH).status_code == 200
    for one in idle:
        one.close()


def test_a_door_that_cannot_be_opened_stops_the_start(
    directory: SiteDirectory, tmp_path: Path
) -> None:
    (tmp_path / "grid.token").write_text("short", encoding="utf-8")
    with SchedulerProcess(directory.path, tmp_path / "state") as scheduler:
        assert scheduler.gone() == 2
        assert "openssl rand" in scheduler.wait_for("scheduler_not_started")["reason"]
    (tmp_path / "grid.token").write_text(TOKEN, encoding="utf-8")
    assert directory.site.http is not None
    host, _, port = directory.site.http.listen.partition(":")
    with socket.socket() as taken:
        taken.bind((host, int(port)))
        taken.listen()
        with SchedulerProcess(directory.path, tmp_path / "state") as scheduler:
            assert scheduler.gone() == 2
            assert "cannot serve HTTP on" in scheduler.wait_for("scheduler_not_started")["reason"]


# --- clients that say too much, too little or too slowly


@pytest.fixture
def connect(directory: SiteDirectory, door: httpx.Client) -> Iterator[Callable[[], socket.socket]]:
    """Connections of an attacker at 127.0.0.2."""
    del door
    assert directory.site.http is not None
    host, _, port = directory.site.http.listen.rpartition(":")
    with ExitStack() as opened:

        def one() -> socket.socket:
            made = socket.create_connection((host, int(port)), 60, ("127.0.0.2", 0))
            return opened.enter_context(made)

        yield one


def rest(connection: socket.socket) -> bytes:
    heard = b""
    with suppress(ConnectionError):
        while data := connection.recv(65536):
            heard += data
    return heard


def test_half_open_headers_fill_the_places_of_their_address_only(
    door: httpx.Client, connect: Callable[[], socket.socket]
) -> None:
    half = [connect() for _ in range(LIMITS.connections_per_address)]
    for connection in half:
        connection.sendall(b"POST /v1/grid-events HTTP/1.1\r\nhost: x\r\nx-a: ")
    assert b'"reason":"too_many_connections"' in rest(connect())
    assert door.get(PATH).status_code == 200
    assert rest(half[0]).startswith(b"HTTP/1.1 408 ")


def test_a_body_that_does_not_come_and_a_long_header_are_refused(
    door: httpx.Client, connect: Callable[[], socket.socket]
) -> None:
    late, long = connect(), connect()
    late.sendall(
        b"POST /v1/grid-events HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n"
        b"authorization: Bearer " + TOKEN.encode() + b"\r\n\r\n"
    )
    long.sendall(b"GET / HTTP/1.1\r\nx-a: " + b"a" * LIMITS.head_bytes)
    assert rest(long).startswith(b"HTTP/1.1 431 ")
    assert rest(late).startswith(b"HTTP/1.1 408 ")
    assert door.get(PATH).status_code == 200


def test_an_answer_before_a_body_that_is_held_back_is_the_last_of_its_connection(
    connect: Callable[[], socket.socket],
) -> None:
    """What follows may be a request of another client, behind a proxy that shares connections."""
    connection = connect()
    connection.sendall(
        b"POST /v1/grid-events HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
        b"content-length: 63\r\n\r\n"
    )
    heard = rest(connection)
    assert heard.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" in heard.lower()


def test_a_malformed_chunk_behind_an_early_answer_ends_the_connection_without_an_error(
    connect: Callable[[], socket.socket], scheduler: SchedulerProcess
) -> None:
    connection = connect()
    connection.sendall(
        b"POST /v1/grid-events HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    first = connection.recv(65536)
    connection.sendall(b"no chunk\r\n")
    heard = first + rest(connection)
    assert (heard.count(b"HTTP/1.1 "), heard[:13]) == (1, b"HTTP/1.1 401 ")
    scheduler.stop()
    assert not [one for one in scheduler.lines if "Traceback" in str(one)]


def test_what_is_malformed_writes_no_line_into_the_log(
    connect: Callable[[], socket.socket], scheduler: SchedulerProcess
) -> None:
    for data in (
        b"no request\r\n\r\n",
        b"GET / HTTP/1.1\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ):
        connection = connect()
        connection.sendall(data)
        assert connection.recv(65536).startswith(b"HTTP/1.1 4")
    scheduler.stop()
    assert not [one for one in scheduler.lines if "request" in str(one)]
