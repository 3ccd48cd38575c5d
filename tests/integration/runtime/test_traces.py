"""A trace from the client through gateway and worker to the server behind it; and its spans."""

import json
import signal
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from support.programs.collector import attributes, collector
from support.programs.serving_stack import SERVICE, Stack, serving_stack, wait_for

pytestmark = pytest.mark.timeout(120)

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADER = f"00-{TRACE}-{PARENT}-01"
KEY = "wl_planted-key"

SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.reply({})

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.reply(self.headers.get_all("traceparent"))

    def reply(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with serving_stack(tmp_path) as made:
        yield made


def start_server(stack: Stack, *, wait: bool = True) -> None:
    """A bridge before a server that answers with the header that it got."""
    script = stack.directory / "tells.py"
    script.write_text(SERVER)
    stack.start_bridge("--methods=predict", "--", sys.executable, str(script), "{port}", wait=wait)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_header_reaches_the_server_and_its_trace_the_log(stack: Stack) -> None:
    path = stack.directory / "access.log"
    stack.start_gateway(f"--access-log={path}")
    start_server(stack)

    def reported(**headers: str) -> object:
        return stack.infer({"input": 1}, **headers).json()["output"]

    assert reported(traceparent=HEADER) == [HEADER]
    assert reported() is None
    assert reported(traceparent=f"{HEADER}-x") is None
    wait_for(lambda: len(lines(path)) == 3, "the lines")
    assert [line.get("trace_id") for line in lines(path)] == [TRACE, None, None]


def test_spans_reach_a_collector(stack: Stack) -> None:
    pytest.importorskip("opentelemetry.sdk")
    digest = sha256(KEY.encode()).hexdigest()
    stack.grants = [{"name": "shop", "digest": digest, "services": [SERVICE]}]
    stack.write_routes()
    path = stack.directory / "access.log"
    with collector() as server:
        gateway = stack.start_gateway("--closed", f"--otlp={server.url}", f"--access-log={path}")
        start_server(stack, wait=False)
        ready = {"api-key": KEY}
        wait_for(lambda: stack.infer({"input": 1}, **ready).status_code == 200, "the worker")
        asked = {"input": "planted-body"}
        (passed_on,) = stack.infer(asked, traceparent=HEADER, **ready).json()["output"]
        (own,) = stack.infer(asked, **ready).json()["output"]
        stack.infer(asked, traceparent=HEADER, **{"api-key": "wl_planted-wrong"})
        stack.infer(asked, service="wl_planted-service", **ready)
        unsampled = HEADER[:-2] + "00"
        (quiet,) = stack.infer(asked, traceparent=unsampled, **ready).json()["output"]
        gateway.send_signal(signal.SIGTERM)  # the last spans are sent at its end
        assert gateway.wait(20) == 0
        spans = list(server.spans)

    assert server.resources[0]["service.name"] == "wattline-gateway"
    by_id = {span.span_id.hex(): span for span in spans}
    assert (passed_on[3:35], passed_on[-2:]) == (TRACE, "01")
    child = by_id[passed_on[36:52]]
    assert (child.trace_id.hex(), child.parent_span_id.hex(), child.name) == (
        TRACE,
        PARENT,
        "infer",
    )
    found = attributes(child)
    assert found["wattline.service"] == SERVICE
    assert (found["wattline.key"], found["wattline.revision"]) == ("shop", 1)
    assert found["http.response.status_code"] == 200
    took_ms = (child.end_time_unix_nano - child.start_time_unix_nano) / 1e6
    assert found["wattline.queue_ms"] >= 0
    assert found["wattline.queue_ms"] + found["wattline.model_ms"] <= took_ms + 1

    root = by_id[own[36:52]]
    assert root.parent_span_id == b""
    assert root.trace_id.hex() == own[3:35] != TRACE
    refused = [attributes(span) for span in spans if attributes(span).get("wattline.key") is None]
    assert {one["http.response.status_code"] for one in refused} >= {401}
    assert all("wattline.model_ms" not in one for one in refused)
    assert (quiet[3:35], quiet[-2:]) == (TRACE, "00")
    assert quiet[36:52] not in by_id
    traces = {line.get("trace_id") for line in lines(path)}
    assert {TRACE, own[3:35]} <= traces
    assert "planted" not in "".join(map(str, spans)) + path.read_text() + stack.logs()


def test_a_collector_that_is_away_harms_nothing(stack: Stack) -> None:
    pytest.importorskip("opentelemetry.sdk")
    gateway = stack.start_gateway("--otlp=http://127.0.0.1:9/v1/traces")
    start_server(stack)
    assert stack.infer({"input": 1}).status_code == 200
    gateway.send_signal(signal.SIGTERM)
    assert gateway.wait(20) == 0
    assert stack.logs().count("spans_not_sent") == 1


def test_the_trace_is_passed_on_where_the_sdk_is_off(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("opentelemetry.sdk")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    stack.start_gateway("--otlp=http://127.0.0.1:9/v1/traces")
    start_server(stack)
    assert stack.infer({"input": 1}, traceparent=HEADER).json()["output"] == [HEADER]
    assert stack.infer({"input": 1}).json()["output"] is None


def test_without_it_nothing_of_opentelemetry_is_loaded() -> None:
    import subprocess

    code = "import wattline_runtime.gateway.run, sys; print('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
