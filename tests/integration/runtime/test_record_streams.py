"""Record streams of a real gateway: in order, bounded, and resumed without a gap or a repeat."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.programs.serving_stack import SERVICE, Stack, serving_stack, wait_for

pytestmark = pytest.mark.timeout(120)

EXAMPLE = Path(__file__).parents[3] / "examples/serving/record_client.py"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with serving_stack(tmp_path) as made:
        yield made


class Client:
    """A connection that writes and reads at once."""

    def __init__(self, stack: Stack, **headers: str) -> None:
        host, port = stack.endpoints["http_url"].removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=30)
        given = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"POST /v1/services/{SERVICE}/stream HTTP/1.1\r\nhost: x\r\n{given}"
        self.socket.sendall(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
        self._response: HTTPResponse | None = None

    @property
    def response(self) -> HTTPResponse:
        if self._response is None:
            self._response = HTTPResponse(self.socket, method="POST")
            self._response.begin()
        return self._response

    def send(self, *inputs: object, padding: bytes = b"") -> None:
        data = b"".join(json.dumps({"input": one}).encode() + b"\n" for one in inputs) + padding
        self.socket.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def read(self) -> dict[str, Any]:
        """The next line; ConnectionError where there is none."""
        try:
            line = self.response.readline()
        except HTTPException as error:
            raise ConnectionError from error
        if not line.endswith(b"\n"):
            raise ConnectionError
        found: dict[str, Any] = json.loads(line)
        return found

    def end(self) -> list[dict[str, Any]]:
        """End the body; the remaining lines."""
        self.socket.sendall(b"0\r\n\r\n")
        lines = [json.loads(line) for line in self.response.read().splitlines()]
        self.close()
        return lines

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
        self.socket.close()


def test_each_answer_comes_as_it_is_made(stack: Stack) -> None:
    stack.start_gateway()
    stack.start_worker()
    client = Client(stack)
    for number in range(1, 4):
        client.send(f"record {number}")
        assert client.read() == {"seq": number, "output": f"record {number}"}
    client.send(4, 5)
    assert client.end() == [{"seq": 4, "output": 4}, {"seq": 5, "output": 5}]


def test_a_client_may_send_all_before_it_reads(stack: Stack) -> None:
    stack.start_gateway()
    stack.start_counted()
    body = (
        b"".join(b'{"input": %d}\n\n' % n for n in range(1000)) + b'[1]\n{"input": -1, "seq": 1002}'
    )
    answer = httpx.post(stack.url(f"/v1/services/{SERVICE}/stream"), content=body, timeout=60)
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [one["seq"] for one in lines] == [*range(1, 1003)]
    assert [one["output"] for one in lines[:1000]] == [2 * n for n in range(1000)]
    assert lines[1000]["error"]["reason"] == "malformed"
    assert lines[1001]["error"]["reason"] == "model_error"
    wrong = httpx.post(
        stack.url(f"/v1/services/{SERVICE}/stream"),
        content=b'{"input": 1, "seq": 8}\n{"input": 2, "seq": 10}\n{"input": 3}\n',
        headers={"wattline-stream-after": "7"},
    )
    first, end = (json.loads(line) for line in wrong.text.splitlines())
    assert first == {"seq": 8, "output": 2}
    assert end["after"] == 8
    assert "the next record is 9, not 10" in end["end"]["message"]


def test_a_reconnected_client_gets_what_was_computed_meanwhile(stack: Stack) -> None:
    stack.start_gateway()
    worker = stack.start_held()
    client = Client(stack, wattline_stream_id="cam")
    client.send("a", "b", "c")
    wait_for(lambda: stack.service()["in_flight"] + stack.service()["queue_length"] == 3, "work")
    client.close()
    again = Client(stack, wattline_stream_id="cam")
    again.send("a", "b", "c", "d")
    wait_for(lambda: stack.service()["in_flight"] + stack.service()["queue_length"] == 4, "d too")
    stack.let_go()
    assert [again.read() for _ in range(4)] == [
        {"seq": seq, "output": value} for seq, value in enumerate("abcd", start=1)
    ]
    worker.kill()  # from here on the window alone can answer
    third = Client(stack, wattline_stream_id="cam", wattline_stream_after="2")
    end = again.read()
    assert (end["end"]["reason"], end["after"]) == ("superseded", 4)
    again.close()
    third.send("c", "d")
    assert [third.read()["output"] for _ in range(2)] == ["c", "d"]
    third.close()
    other = Client(stack, wattline_stream_id="cam", wattline_stream_after="3")
    other.send("not d")
    end = other.read()
    assert (end["end"]["reason"], end["after"]) == ("seq_reused", 3)
    other.close()


def test_the_example_client_loses_and_repeats_nothing_while_gateways_die(stack: Stack) -> None:
    gateway = stack.start_gateway()
    stack.start_counted()
    http, workers = (stack.endpoints[name].split(":")[-1] for name in ("http_url", "workers"))
    out = stack.directory / "answers"
    command = [sys.executable, str(EXAMPLE), stack.endpoints["http_url"], SERVICE, "cam"]
    with out.open("wb") as file:
        client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file)
    assert client.stdin is not None
    with client.stdin as records:
        for number in range(600):
            records.write(b"%d\n" % number)
            records.flush()
            if number in (200, 400):
                wait_for(partial(has_lines, out, number - 100), "answers")
                os.killpg(gateway.pid, signal.SIGKILL)
                gateway.wait(10)
                gateway = stack.start_gateway(f"--http-port={http}", f"--worker-port={workers}")
    assert client.wait(60) == 0
    answers = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(one["seq"], one["output"]) for one in answers] == [(n + 1, 2 * n) for n in range(600)]
    assert {*stack.runs()} == {*range(600)}
    assert len(stack.runs()) <= 600 + 2 * 64  # a lost gateway's records in flight run again


def has_lines(path: Path, least: int) -> bool:
    return path.read_bytes().count(b"\n") >= least


def fill(client: Client, *inputs: object, padding: bytes = b"") -> int:
    """Send until the gateway takes no more; how often."""
    sent = 0
    try:
        while sent < 4096:
            client.send(*inputs, padding=padding)
            sent += 1
    except (TimeoutError, ConnectionError):
        return sent
    raise AssertionError("the gateway takes all that is sent")


def test_what_is_in_flight_is_bounded(stack: Stack) -> None:
    stack.start_gateway()
    stack.start_held()
    client = Client(stack, timeout_ms="3000")
    client.socket.settimeout(1.0)
    sent = fill(client, 1, padding=b"\n" * 16 * 1024)
    assert stack.service()["in_flight"] + stack.service()["queue_length"] <= 64
    assert 64 <= sent < 2048  # the rest is in the kernel, at 16 KiB each
    client.close()
    few = Client(stack)
    few.send(2)
    wait_for(lambda: stack.service()["queue_length"], "it waits")
    few.close()
    wait_for(lambda: stack.service()["queue_length"] == 0, "what its client left is abandoned", 20)
    for after in range(0, 80, 4):  # answers that it cannot have read are computed no further
        one = Client(stack, wattline_stream_id="cam", wattline_stream_after=f"{after}")
        one.send(*range(after, after + 4))
        wait_for(lambda: stack.service()["queue_length"] == 4, "its records, and none before", 20)
        one.close()


def test_a_client_that_does_not_read_is_disconnected_and_learns_why(stack: Stack) -> None:
    stack.start_gateway("--client-timeout-s=1")
    stack.start_worker()
    client = Client(stack, wattline_stream_id="cam")
    client.socket.settimeout(20)
    fill(client, "x" * 256 * 1024)
    client.close()

    def note() -> str:
        again = Client(stack, wattline_stream_id="cam")
        found: str = again.response.getheader("wattline-stream-note") or ""
        again.close()
        return found

    assert "read nothing" in wait_for(note, "the note")


def test_sigterm_answers_what_is_in_flight_and_says_to_reconnect(stack: Stack) -> None:
    gateway = stack.start_gateway()
    stack.start_held()
    client = Client(stack, wattline_stream_id="cam")
    client.send("a", "b")
    wait_for(lambda: stack.ran("a"), "it runs")
    gateway.send_signal(signal.SIGTERM)
    stack.let_go()
    assert [client.read()["output"] for _ in range(2)] == ["a", "b"]
    end = client.read()
    assert (end["end"]["reason"], end["after"]) == ("stopping", 2)
    client.close()
    assert gateway.wait(10) == 0
    assert "Traceback" not in stack.logs()


def test_keys_of_streams(stack: Stack) -> None:
    def grant(name: str, **more: object) -> dict[str, Any]:
        digest = sha256(name.encode()).hexdigest()
        return {"name": name, "digest": digest, "services": [SERVICE], **more}

    stack.grants = [grant("ada"), grant("bob", rate_per_s=10.0, burst=5)]
    stack.write_routes()
    stack.start_gateway("--closed")
    stack.start_worker(wait=False)
    wait_for(lambda: stack.infer({"input": 1}, **{"api-key": "ada"}).status_code == 200, "worker")
    url = stack.url(f"/v1/services/{SERVICE}/stream")
    assert httpx.post(url, content=b"").status_code == 401
    ada = Client(stack, api_key="ada", wattline_stream_id="x")
    ada.send("of ada")
    assert ada.read()["output"] == "of ada"
    bob = Client(stack, api_key="bob", wattline_stream_id="x")
    bob.send(*range(10))  # the rate holds it back, no record is refused
    assert [bob.read()["output"] for _ in range(10)] == [*range(10)]
    stack.grants = [grant("bob")]
    stack.write_routes()
    assert ada.read()["end"]["reason"] == "unauthorized"
    ada.close()
    bob.send("still")
    assert bob.end() == [{"seq": 11, "output": "still"}]
    for headers, status in (
        ({"wattline-stream-after": "-1"}, 400),
        ({"wattline-stream-id": "a b"}, 400),
        ({"timeout-ms": "0"}, 400),
    ):
        answer = httpx.post(url, content=b"", headers={"api-key": "bob", **headers})
        assert answer.status_code == status
    assert httpx.get(url, headers={"api-key": "bob"}).status_code == 405
