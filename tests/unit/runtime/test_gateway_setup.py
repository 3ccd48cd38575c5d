"""Setting a gateway up: config, listening socket, routes file, Prometheus text."""

import asyncio
import errno
import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from support.programs.serving import GatewayBench
from wattline_protocol.trust.keys import KeyPair
from wattline_runtime.gateway import FileRoutes, GatewayConfig
from wattline_runtime.gateway.connections.listeners import open_listener
from wattline_runtime.gateway.routes import RoutesFileInvalid
from wattline_runtime.gateway.stats import Stats
from wattline_runtime.gateway.telemetry.figures import Figures, figures
from wattline_runtime.gateway.telemetry.prometheus import exposition

DOCS = Path(__file__).parents[3] / "docs"
METRIC = re.compile(r"`(?:wattline_gateway_)?([a-z_]+_total|cache_bytes|workers_probed)`")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"queue_limit": 0}, "queue_limit is 0, it must be at least 1"),
        ({"default_timeout_ms": 10, "max_timeout_ms": 5}, "below default_timeout_ms"),
        ({"max_body_bytes": 2**30}, "max_body_bytes must be from 1 to 1048576"),
        ({"secret_key": "abc"}, "a key has 40 characters"),
        ({"connections_per_address": 0}, "connections_per_address is 0, it must be at least 1"),
        ({"client_timeout_s": 0}, "client_timeout_s is 0, it must be above 0"),
        ({"tls_cert": "/c"}, "tls_cert and tls_key belong together"),
        ({"http_host": "10.0.0.5"}, "API keys would cross the network in plain HTTP to 10.0.0.5"),
        ({"hold_s": -1}, "hold_s is -1, it must be 0 or more"),
        ({"trusted_proxies": ("10.0.0.0/40",)}, "does not appear to be an IPv4 or IPv6 network"),
    ],
)
def test_a_wrong_config_says_what_is_wrong(change: dict[str, int], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        GatewayConfig(**change)  # type: ignore[arg-type]  # wrong on purpose


def test_theopen_listenering_socket_names_tcp_so_that_answers_are_not_held_back() -> None:
    with open_listener("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP
        with pytest.raises(OSError, match="cannot serve HTTP on"):
            open_listener("127.0.0.1", listener.getsockname()[1])


def read(path: Path) -> list[str]:
    """Public keys in the first set of routes of the file."""

    async def first() -> list[str]:
        async for routes in FileRoutes(path).updates():
            return [r.public_key for named in routes.services.values() for r in named]
        return []

    return asyncio.run(first())


def test_a_routes_file_is_read(tmp_path: Path) -> None:
    key = KeyPair.generate().public
    ref = {"job": 1, "task": 0, "attempt": 1}
    path = tmp_path / "routes.json"
    path.write_text(json.dumps({"services": {"svc": [{"ref": ref, "public_key": key}]}}))
    assert read(path) == [key]


async def test_a_change_that_could_not_be_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "routes.json"
    path.write_text('{"services": {}}')
    updates = FileRoutes(path, period_s=0.001).updates()
    assert not (await anext(updates)).services
    path.write_text('{"services": {"svc": []}}')
    opened, tried = Path.open, 0

    def without_descriptors(file: Path, mode: str) -> Any:
        nonlocal tried
        tried += 1
        if tried <= 3:
            raise OSError(errno.EMFILE, "Too many open files")
        return opened(file, mode)

    monkeypatch.setattr(Path, "open", without_descriptors)
    with capture_logs() as noted:
        async with asyncio.timeout(30):
            assert (await anext(updates)).services.keys() == {"svc"}
    assert [one["detail"] for one in noted] == [f"{path}: Too many open files"], "once"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "Input data was truncated"),
        ('{"services": {"svc": [{"ref": {}}]}}', "job"),
        ('{"service": {}}', "unknown field `service`"),
        (None, "No such file"),
    ],
)
def test_a_routes_file_that_cannot_be_used_says_why(
    tmp_path: Path, text: str | None, why: str
) -> None:
    path = tmp_path / "routes.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RoutesFileInvalid, match=why):
        read(path)


def test_prometheus_text_has_all_series_and_escapes_names() -> None:
    bench = GatewayBench().routes(1, service='a"\\b').worker(1)
    stats = Stats()
    stats.count('a"\\b', 200, "", 0.003)
    stats.count("-", 404, "unknown_service", 0.001)
    found = figures(stats, bench.gateway, {"unknown_key": 3}, {"body_too_slow": 2}, {})
    text = exposition(found).decode()
    assert 'wattline_gateway_requests_total{service="a\\"\\\\b",status="200"} 1' in text
    assert 'wattline_gateway_errors_total{reason="unknown_service",service="-"} 1' in text
    assert 'wattline_gateway_latency_seconds_bucket{le="0.005",service="a\\"\\\\b"} 1' in text
    assert 'wattline_gateway_workers_refused_total{reason="unknown_key"} 3' in text
    assert 'wattline_gateway_clients_refused_total{reason="body_too_slow"} 2' in text
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(len(line.rsplit(" ", 1)) == 2 for line in samples)
    families = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert len(families) == 33
    pages = (
        DOCS / f"{name}.md"
        for name in ("serving", "api-keys", "batches", "routing", "serving-scale")
    )
    named = {one for page in pages for one in METRIC.findall(page.read_text())}
    assert {f"wattline_gateway_{one}" for one in named} <= families
    assert len(named) > 5
    assert 'wattline_gateway_latency_seconds_count{service="a\\"\\\\b"} 1' in text


def test_figures_of_processes_are_added_up_and_those_of_ended_ones_kept() -> None:
    bench = GatewayBench().routes(1).worker(1)
    stats = Stats()
    stats.count("svc", 200, "", 0.003)
    one = figures(stats, bench.gateway, {"unknown_key": 3}, {}, {})
    total = Figures()
    total.add(one)
    total.add(one)
    assert total.values["requests_total"] == {("svc", "200"): 2}
    assert total.values["workers"] == {("svc",): 1}  # both have the same one
    assert sum(total.latency["svc"].counts) == 2
    assert sum(stats.latency["svc"].counts) == 1
    ended = Figures()
    ended.add(one, has_ended=True)
    assert ended.values["requests_total"] == {("svc", "200"): 1}
    assert ended.values["workers"] == {}


@pytest.mark.parametrize(
    "fitting",
    [
        {"http_host": "10.0.0.5", "insecure": True},
        {"http_host": "10.0.0.5", "open": True},
        {"http_host": "10.0.0.5", "tls_cert": "/c", "tls_key": "/k"},
        {"http_host": "[::1]"},
        {"http_host": "localhost"},
    ],
)
def test_keys_never_cross_the_network_by_accident(fitting: dict[str, str]) -> None:
    GatewayConfig(**fitting)  # type: ignore[arg-type]  # fields by name
