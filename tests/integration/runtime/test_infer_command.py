"""`wattline infer` against a real gateway: results in order, through kills of either side."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from support.programs.serving_stack import SERVICE, Stack, serving_stack, wait_for
from wattline.client.errors import BadRequest, WattlineError
from wattline.client.gateway_http import GatewayHttp

pytestmark = pytest.mark.timeout(120)

KEY = "wl_planted-key"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with serving_stack(tmp_path) as made:
        yield made


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "wattline", "infer", SERVICE, *args]


def environment(stack: Stack) -> dict[str, str]:
    return {**os.environ, "WATTLINE_URL": stack.endpoints["http_url"], "WATTLINE_API_KEY": KEY}


def infer(stack: Stack, *args: str, rows: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command(*args), input=rows, capture_output=True, env=environment(stack), timeout=60
    )


def begin(stack: Stack, rows: bytes, *args: str) -> tuple[subprocess.Popen[bytes], str]:
    """A command that runs, and the batch that it has created."""
    source = stack.directory / "in.jsonl"
    source.write_bytes(rows)
    with source.open("rb") as file, (stack.directory / "out").open("wb") as out:
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command(*args), stdin=file, stdout=out, stderr=pipe, env=environment(stack)
        )
    assert process.stderr is not None
    found = re.search(r"batch_[0-9a-f]{32}", process.stderr.readline().decode())
    assert found is not None
    return process, found[0]


def rows(count: int) -> bytes:
    return b"".join(b'{"input": %d}\n' % n for n in range(count))


def lines(data: bytes) -> list[int]:
    return [json.loads(line)["line"] for line in data.splitlines()]


def test_results_reach_stdout_in_order_and_failures_the_exit_code(stack: Stack) -> None:
    stack.start_gateway(f"--batch-dir={stack.directory / 'batches'}")
    stack.start_worker()
    done = infer(stack, rows=rows(500))
    assert (done.returncode, lines(done.stdout)) == (0, [*range(1, 501)])
    assert json.loads(done.stdout.splitlines()[7])["output"] == 7
    mixed = rows(2) + b'{"url": "/v1/embeddings", "body": {"model": "svc", "input": "x"}}\n'
    failed = infer(stack, rows=mixed)
    assert failed.returncode == 1
    assert lines(failed.stdout) == [1, 2, 3]
    assert b"2 of 3 rows completed, 1 failed" in failed.stderr
    for args, status, words in (
        ((), 2, b"no rows"),
        (("--url=http://127.0.0.1:1",), 5, b"does not answer"),
        (("--url=ftp://x",), 2, b"expected http://HOST:PORT"),
        (("--resume=batch_x",), 3, b"there is no batch"),
        (("--resume=a", "--cancel=b"), 2, b"exclude"),
        ((f"--key-file={stack.directory}/none",), 2, b"No such file"),
    ):
        refused = infer(stack, *args)
        assert (refused.returncode, words in refused.stderr) == (status, True), refused.stderr


def test_it_outlives_its_gateway_and_its_batch_outlives_it(stack: Stack) -> None:
    args = (f"--batch-dir={stack.directory / 'batches'}",)
    gateway = stack.start_gateway(*args)
    stack.start_held()
    process, number = begin(stack, rows(100), f"--out={stack.directory / 'kept'}")
    wait_for(lambda: stack.ran(0), "a row runs")
    http, workers = (stack.endpoints[name].split(":")[-1] for name in ("http_url", "workers"))
    os.killpg(gateway.pid, signal.SIGKILL)
    gateway.wait(10)
    stack.start_gateway(*args, f"--http-port={http}", f"--worker-port={workers}")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert process.stderr is not None
    with process.stderr:
        reported = process.stderr.read().decode()
    assert f"wattline infer {SERVICE} --resume {number}" in reported
    assert f"wattline infer {SERVICE} --cancel {number}" in reported
    stack.let_go()
    kept = stack.directory / "kept"
    kept.write_bytes(b'{"line":1,"output":0}\n{"line":2,"outp')
    resumed = infer(stack, f"--resume={number}", f"--out={kept}")
    assert resumed.returncode == 0, resumed.stderr
    assert lines(kept.read_bytes()) == [*range(1, 101)]
    assert infer(stack, f"--resume={number}").stdout == kept.read_bytes()
    again = infer(stack, f"--out={kept}", rows=rows(1))
    assert (again.returncode, b"--resume ID" in again.stderr) == (2, True)
    other = stack.directory / "notes"
    for text in ("notes", "notes\nmore", '{"line":2,"output":1}\n'):
        other.write_text(text)
        refused = infer(stack, f"--resume={number}", f"--out={other}")
        assert (refused.returncode, other.read_text()) == (2, text)
    assert KEY not in stack.logs()


def test_it_follows_a_gateway_that_is_killed_and_cancels(stack: Stack) -> None:
    args = (f"--batch-dir={stack.directory / 'batches'}",)
    gateway = stack.start_gateway(*args)
    stack.start_worker()
    process, _ = begin(stack, rows(5000))
    out = stack.directory / "out"
    wait_for(lambda: out.stat().st_size, "results")
    http, workers = (stack.endpoints[name].split(":")[-1] for name in ("http_url", "workers"))
    os.killpg(gateway.pid, signal.SIGKILL)
    gateway.wait(10)
    stack.start_gateway(*args, f"--http-port={http}", f"--worker-port={workers}")
    assert process.wait(60) == 0
    assert lines(out.read_bytes()) == [*range(1, 5001)]
    assert process.stderr is not None
    process.stderr.close()
    stack.routes[SERVICE] = []
    stack.write_routes()
    process, number = begin(stack, rows(10))
    cancelled = infer(stack, f"--cancel={number}")
    assert cancelled.returncode == 0
    assert any(state in cancelled.stderr for state in (b"cancelling", b"cancelled"))
    assert process.wait(30) == 1
    assert process.stderr is not None
    with process.stderr:
        assert b"batch cancelled" in process.stderr.read()


NESTED = b'{"error":' + b"[" * 100_000
COUNTS = b'{"total": -1, "completed": 0, "failed": 0}'
NEGATIVE = b'{"id": "b", "service": "svc", "status": "completed", "request_counts": %b}' % COUNTS


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>"),
        (200, b"{}"),
        (200, b"\xff"),
        (200, NEGATIVE),
        (400, NESTED),
        (400, b"null"),
    ],
    ids=["html", "no-batch", "no-text", "negative", "nested", "null"],
)
def test_what_is_no_gateway_is_named(status: int, body: bytes) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-length", f"{len(body)}")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep stderr for what fails."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        gateway = GatewayHttp(f"http://127.0.0.1:{server.server_port}", KEY)
        with pytest.raises(WattlineError, match="is it a gateway"):
            gateway.batch("b")
        server.shutdown()


@pytest.mark.parametrize("url", ["localhost:7413", "http://h:99999", "http://[::1", "http://h:x"])
def test_what_is_no_url_is_named(url: str) -> None:
    with pytest.raises(BadRequest, match="expected http://HOST:PORT"):
        GatewayHttp(url, "")
