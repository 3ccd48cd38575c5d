"""OpenAI's routes and binary bodies through a real gateway and workers; runs the examples."""

import base64
import json
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from support.programs.serving_stack import SERVICE, Stack, serving_stack, wait_for

EXAMPLES = Path(__file__).parents[3] / "examples" / "serving"
LONG = " ".join(str(n) for n in range(200))


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with serving_stack(tmp_path_factory.mktemp("chat")) as stack:
        stack.start_gateway()
        stack.start_worker(model=f"{EXAMPLES / 'chat.py'}:Backwards")
        yield stack


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with serving_stack(tmp_path) as running:
        running.start_gateway()
        yield running


def client(stack: Stack) -> Any:
    return openai.OpenAI(base_url=stack.url("/v1"), api_key="none", max_retries=0, timeout=30)


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def stream(stack: Stack, text: str, **extra: Any) -> Any:
    body = {"model": SERVICE, "messages": ask(text), "stream": True, **extra}
    return httpx.stream("POST", stack.url("/v1/chat/completions"), json=body, timeout=30)


def test_openais_client_chats(chat: Stack) -> None:
    with client(chat) as ai:
        answer = ai.chat.completions.create(model=SERVICE, messages=ask("one two three"))
        assert answer.choices[0].message.content == "three two one"
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage.model_dump()["total_tokens"] == 6
        cut = ai.chat.completions.create(model=SERVICE, messages=ask("one two"), max_tokens=1)
        assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("two", "length")


def test_openais_client_streams_with_usage_at_the_end(chat: Stack) -> None:
    options = {"include_usage": True}
    with client(chat) as ai:
        pieces = list(
            ai.chat.completions.create(
                model=SERVICE, messages=ask(LONG), stream=True, stream_options=options
            )
        )
        texts = [p.choices[0].delta.content or "" for p in pieces if p.choices]
        assert "".join(texts) == " ".join(reversed(LONG.split()))
        assert len(texts) == 201
        assert pieces[-1].usage.completion_tokens == 200
        done = ai.completions.create(model=SERVICE, prompt="a b")
        assert (done.choices[0].text, done.usage.prompt_tokens) == ("b a", 2)
        parts = list(ai.completions.create(model=SERVICE, prompt="a b", stream=True))
        assert [p.choices[0].text for p in parts] == ["b", " a", ""]


def test_models_lists_what_these_routes_serve(chat: Stack) -> None:
    with client(chat) as ai:
        assert [m.id for m in ai.models.list()] == [SERVICE]
        assert ai.models.retrieve(SERVICE).owned_by == "wattline"
        with pytest.raises(openai.NotFoundError, match="known models: svc"):
            ai.models.retrieve("other")
    refused = httpx.post(chat.url("/v1/models"))
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET")


def test_a_stream_is_events_that_end_with_done(chat: Stack) -> None:
    with stream(chat, "one two") as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        lines = [line for line in answer.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    assert [json.loads(line[6:])["object"] for line in lines[:-1]] == ["chat.completion.chunk"] * 3


@pytest.mark.parametrize(
    ("path", "body", "status", "kind", "code"),
    [
        ("chat/completions", b"{", 400, "invalid_request_error", "malformed"),
        ("chat/completions", {"messages": []}, 400, "invalid_request_error", "malformed"),
        ("chat/completions", {"model": "x"}, 404, "invalid_request_error", "model_not_found"),
        ("embeddings", {"model": SERVICE}, 404, "invalid_request_error", "no_method"),
        ("chat/completions", {"model": SERVICE}, 422, "invalid_request_error", "bad_input"),
        ("completions", {"model": SERVICE, "prompt": 1}, 422, "invalid_request_error", "bad_input"),
        ("completions", b"x" * 1_048_577, 413, "invalid_request_error", "body_too_large"),
    ],
)
@pytest.mark.parametrize("is_stream", [False, True])
def test_errors_have_type_and_code(
    chat: Stack, path: str, body: Any, status: int, kind: str, code: str, *, is_stream: bool
) -> None:
    if isinstance(body, dict):
        body = json.dumps({**body, "stream": is_stream}).encode()
    answer = httpx.post(chat.url(f"/v1/{path}"), content=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (status, kind, code)
    assert error["reason"]
    assert error["message"]


def test_wrong_methods_of_http_are_refused(chat: Stack) -> None:
    answer = httpx.get(chat.url("/v1/chat/completions"))
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["error"]["code"] == "method"
    answer = chat.infer({"input": 1})
    assert (answer.status_code, answer.json()["error"]["reason"]) == (404, "no_method")


def test_embeddings_as_floats_and_as_openais_client_wants_them(stack: Stack) -> None:
    stack.start_worker(model=f"{EXAMPLES / 'embed.py'}:Letters")
    url = stack.url("/v1/embeddings")
    plain = httpx.post(url, json={"model": SERVICE, "input": "aab"}).json()
    [vector] = [row["embedding"] for row in plain["data"]]
    assert vector[:3] == pytest.approx([2 / 5**0.5, 1 / 5**0.5, 0.0])
    assert plain["usage"] == {"prompt_tokens": 1, "total_tokens": 1}
    body = {"model": SERVICE, "input": ["aab", "z"], "encoding_format": "base64"}
    rows = httpx.post(url, json=body).json()["data"]
    data = base64.b64decode(rows[0]["embedding"])
    assert struct.unpack("<26f", data)[:2] == pytest.approx(vector[:2])
    with client(stack) as ai:
        made = ai.embeddings.create(model=SERVICE, input=["aab", "z"])
    assert made.data[0].embedding == pytest.approx(vector)
    assert made.data[1].embedding[25] == 1.0
    bad: list[dict[str, Any]] = [{"input": []}, {"input": [1]}, {"input": "a", "dimensions": 3}]
    for wrong in bad:
        assert httpx.post(url, json={"model": SERVICE, **wrong}).status_code == 422
    many = httpx.post(url, json={"model": SERVICE, "input": ["a"] * 2_049})
    assert (many.status_code, many.json()["error"]["code"]) == (400, "malformed")
    assert "at most 2048" in many.json()["error"]["message"]


def test_bytes_in_and_out(stack: Stack) -> None:
    stack.start_worker(model=f"{EXAMPLES / 'image.py'}:Invert")
    octets = {"content-type": "application/octet-stream"}
    image = b"P5 2 2 255\n" + bytes([0, 1, 254, 255])
    answer = stack.infer(image, **octets)
    assert answer.headers["content-type"] == octets["content-type"]
    assert answer.content == b"P5 2 2 255\n" + bytes([255, 254, 1, 0])
    refused = stack.infer(b"{}", **octets)
    assert (refused.status_code, refused.json()["error"]["reason"]) == (422, "bad_input")
    assert stack.infer(b"x" * 1_048_577, **octets).status_code == 413


def test_bytes_for_a_model_that_takes_none_are_refused(stack: Stack) -> None:
    stack.start_worker()
    answer = stack.infer(b"x", **{"content-type": "application/octet-stream"})
    assert (answer.status_code, answer.json()["error"]["reason"]) == (404, "no_method")
    assert "does not offer bytes" in answer.json()["error"]["message"]


NOTING = '''
import pathlib, time

class Noting:
    """Notes the start and end of each generation."""

    def load(self, args):
        self.dir = pathlib.Path(args["dir"])

    def chat(self, request):
        name = request["messages"][0]["content"]
        (self.dir / f"began-{name}").touch()
        try:
            for number in range(request.get("count", 100_000)):
                time.sleep(request.get("pause_s", 0.001))
                yield "x" * request.get("size", 10)
        finally:
            (self.dir / f"ended-{name}").write_text(str(number))
'''


def start_noting(stack: Stack, **options: Any) -> Any:
    (stack.directory / "noting.py").write_text(NOTING)
    model = f"{stack.directory / 'noting.py'}:Noting"
    return stack.start_worker(f"--arg=dir={stack.directory}", model=model, **options)


def has_ended(stack: Stack, name: str) -> bool:
    return (stack.directory / f"ended-{name}").exists()


def test_a_client_that_leaves_ends_its_generation(stack: Stack) -> None:
    start_noting(stack)
    with stream(stack, "gone") as answer:
        next(answer.iter_lines())
        assert not has_ended(stack, "gone")
    wait_for(lambda: has_ended(stack, "gone"), "the generation has ended", 5.0)
    wait_for(lambda: not stack.service()["in_flight"], "its slot is free")
    # One that only ends its half of the connection reads the rest.
    url = urlsplit(stack.endpoints["http_url"])
    with closing(HTTPConnection(url.hostname or "", url.port, timeout=30)) as connection:
        body = {"model": SERVICE, "messages": ask("half"), "stream": True, "count": 200}
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        answer = connection.getresponse()
        answer.readline()
        connection.sock.shutdown(socket.SHUT_WR)
        assert answer.read().endswith(b"data: [DONE]\n\n")
    assert (stack.directory / "ended-half").read_text() == "199"


def test_a_key_that_is_revoked_ends_its_generations(tmp_path: Path) -> None:
    with serving_stack(tmp_path) as stack:
        digest = sha256(b"ada").hexdigest()
        stack.grants = [{"name": "ada", "digest": digest, "services": [SERVICE]}]
        stack.write_routes()
        stack.start_gateway("--closed")
        start_noting(stack, wait=False)
        body = {"model": SERVICE, "messages": ask("short"), "count": 1}
        url, key = stack.url("/v1/chat/completions"), {"api-key": "ada"}
        wait_for(lambda: httpx.post(url, json=body, headers=key).status_code == 200, "it serves")
        body |= {"messages": ask("long"), "count": 100_000, "stream": True}
        with httpx.stream("POST", url, json=body, headers=key, timeout=30) as answer:
            lines = answer.iter_lines()
            next(lines)
            stack.grants = []
            stack.write_routes()
            *_, last = (line for line in lines if line.startswith("data: "))
        assert json.loads(last.removeprefix("data: "))["error"]["reason"] == "unauthorized"
        wait_for(lambda: has_ended(stack, "long"), "the generation has ended")


def test_a_slow_client_holds_up_only_its_own_stream(stack: Stack) -> None:
    start_noting(stack)
    url = urlsplit(stack.endpoints["http_url"])
    slow = socket.create_connection((url.hostname or "", url.port or 0))
    with slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = {"model": SERVICE, "messages": ask("slow"), "stream": True, "size": 20_000}
        body = json.dumps(request).encode()
        length = f"content-length: {len(body)}"
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{length}\r\n\r\n"
        slow.sendall(head.encode() + body)
        wait_for(lambda: (stack.directory / "began-slow").exists(), "it runs")
        time.sleep(0.5)  # all buffers between the two are full
        with stream(stack, "quick", count=200) as answer:
            lines = [line for line in answer.iter_lines() if line]
        assert len(lines) == 202
        assert not has_ended(stack, "slow"), "it waits for its client"
        received = bytearray(slow.recv(65536))
        for _ in range(9):
            received += slow.recv(65536)
        assert b'"content":"xxxx' in received
    wait_for(lambda: has_ended(stack, "slow"), "its client has left")
    pieces = int((stack.directory / "ended-slow").read_text())
    assert pieces * 20_000 < 50_000_000, "it made no more than the buffers hold"


def test_a_client_that_reads_steadily_is_no_slow_one(tmp_path: Path) -> None:
    with serving_stack(tmp_path) as stack:
        stack.start_gateway("--client-timeout-s=1")
        start_noting(stack)
        url = urlsplit(stack.endpoints["http_url"])
        with socket.create_connection((url.hostname or "", url.port or 0)) as steady:
            request = {"model": SERVICE, "messages": ask("steady"), "stream": True, "size": 20_000}
            body = json.dumps(request).encode()
            length = f"content-length: {len(body)}"
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{length}\r\n\r\n"
            steady.sendall(head.encode() + body)
            for _ in range(80):  # less than the model makes, for three times the timeout
                assert steady.recv(30_000)
                time.sleep(0.04)
            assert not has_ended(stack, "steady")
            assert not stack.metric("clients_refused_total", reason="answer_not_read")
            wait_for(lambda: has_ended(stack, "steady"), "it reads nothing more", 15.0)


def test_a_worker_that_dies_mid_stream_ends_it_with_an_error_event(stack: Stack) -> None:
    process = start_noting(stack)
    lines: list[str] = []
    with stream(stack, "lost") as answer:
        for line in answer.iter_lines():
            if not lines:
                process.kill()
            lines.append(line)
    events = [line for line in lines if line]
    assert events[-2] == "event: error"
    error = json.loads(events[-1].removeprefix("data: "))["error"]
    assert (error["reason"], error["type"]) == ("worker_lost", "server_error")
    assert "data: [DONE]" not in events


def test_openais_client_raises_the_error_of_a_stream(stack: Stack) -> None:
    process = start_noting(stack)
    with client(stack) as ai:
        pieces = ai.chat.completions.create(model=SERVICE, messages=ask("lost"), stream=True)
        next(iter(pieces))
        process.kill()
        with pytest.raises(openai.APIError, match="its worker ended"):
            list(pieces)


def test_before_the_first_chunk_another_worker_answers(stack: Stack) -> None:
    doomed = start_noting(stack)
    body = {"model": SERVICE, "messages": ask("moved"), "stream": True, "count": 1, "pause_s": 2}
    with httpx.Client(timeout=30) as http:
        request = http.build_request("POST", stack.url("/v1/chat/completions"), json=body)
        wait_for(lambda: stack.ready_workers(), "a worker is ready")

        def kill_it() -> None:
            wait_for(lambda: (stack.directory / "began-moved").exists(), "it runs")
            start_noting(stack)
            doomed.kill()

        thread = threading.Thread(target=kill_it)
        thread.start()
        answer = http.send(request)
        thread.join()
    assert answer.status_code == 200
    assert answer.text.rstrip().endswith("data: [DONE]")


def test_a_drained_worker_finishes_its_streams(stack: Stack) -> None:
    process = start_noting(stack)
    with stream(stack, "drained", count=500) as answer:
        lines = answer.iter_lines()
        next(lines)
        process.send_signal(signal.SIGTERM)
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert process.wait(5) == 0


def test_a_warm_up_that_fails_ends_the_worker_with_what_the_model_raised(stack: Stack) -> None:
    (stack.directory / "cold.py").write_text(
        """
class Cold:
    def load(self, args): ...

    def example(self):
        return [1]

    def predict(self, batch):
        raise LookupError("no such expert")
"""
    )
    process = stack.start_worker(model=f"{stack.directory / 'cold.py'}:Cold", wait=False)
    assert process.wait(20) == 3
    lines = stack.logs().splitlines()
    assert "LookupError: no such expert" in lines
    assert any('"detail": "LookupError: no such expert"' in line for line in lines)
    assert not stack.ready_workers()


def test_progress_of_loading_is_shown(stack: Stack) -> None:
    (stack.directory / "loading.py").write_text(
        """
import pathlib, time

class Loading:
    def load(self, args):
        yield "1 of 2 shards"
        while not pathlib.Path(args["go"]).exists():
            time.sleep(0.01)

    def predict(self, batch):
        return batch
"""
    )
    go = stack.directory / "go"
    model = f"{stack.directory / 'loading.py'}:Loading"
    stack.start_worker(f"--arg=go={go}", model=model, wait=False)
    [worker] = wait_for(
        lambda: [w for w in stack.service()["workers"] if "progress" in w], "it loads"
    )
    assert (worker["state"], worker["progress"]) == ("loading", "1 of 2 shards")
    go.touch()
    wait_for(stack.ready_workers, "it is ready")
    assert "1 of 2 shards" in stack.logs()
