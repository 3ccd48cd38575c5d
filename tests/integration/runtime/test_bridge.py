"""An HTTP server behind the bridge: its answers and streams, and every way in which it fails."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.programs.serving_stack import SERVICE, Stack, serving_stack, wait_for
from wattline_protocol.job.file import parse_job
from wattline_protocol.job.http_server import bridge_command

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples" / "serving"
FAULTY = ROOT / "tests" / "support" / "programs" / "faulty_http_server.py"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with serving_stack(tmp_path) as running:
        running.start_gateway()
        yield running


def start(stack: Stack, *faults: str, options: tuple[str, ...] = ()) -> Any:
    """The bridge before a server with faults."""
    notes = str(stack.directory / "requests")
    command = (sys.executable, str(FAULTY), "{port}", notes, *faults)
    chosen = ("--methods=chat,predict", *options)
    return stack.start_bridge(*chosen, "--", *command)


def body(text: str, *, stream: bool = False) -> dict[str, Any]:
    return {"model": SERVICE, "messages": [{"role": "user", "content": text}], "stream": stream}


def chat(stack: Stack, text: str, *, stream: bool = False, **headers: str) -> httpx.Response:
    url = stack.url("/v1/chat/completions")
    return httpx.post(url, json=body(text, stream=stream), headers=headers, timeout=30)


def events(answer: httpx.Response) -> list[str]:
    return [line for line in answer.text.splitlines() if line]


def test_the_example_behind_the_bridge(stack: Stack) -> None:
    job = parse_job((EXAMPLES / "bridge.toml").read_text(), "bridge.toml")
    assert job.service is not None
    assert job.service.http is not None
    words = {"python": sys.executable, "http_server.py": str(EXAMPLES / "http_server.py")}
    own = [words.get(part, part) for part in job.command]
    process = stack.start_bridge(*bridge_command(job.service.http, own)[1:])
    assert stack.infer({"input": [1, None]}).json() == {"output": {"echo": [1, None]}}
    answer = chat(stack, "one two")
    assert answer.json()["choices"][0]["message"]["content"] == "one two"
    streamed = events(chat(stack, "one two", stream=True))
    assert [json.loads(e[6:])["choices"][0]["delta"]["content"] for e in streamed[:-1]] == [
        "one",
        "two",
    ]
    assert streamed[-1] == "data: [DONE]"
    [worker] = stack.service()["workers"]
    assert (worker["state"], worker["methods"]) == ("ready", ["chat", "predict"])
    begun_s = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert time.monotonic() - begun_s < 5.0
    assert not _children_of(process.pid)


def _children_of(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == pid:  # its session, which is the bridge's
            found.append(int(stat.parent.name))
    return found


@pytest.mark.parametrize(
    "name", sorted(p.name for p in EXAMPLES.glob("*.toml") if p.stem != "route")
)
def test_the_job_files_of_the_examples_are_valid(name: str) -> None:
    assert parse_job((EXAMPLES / name).read_text(), name).kind == "service"


@pytest.mark.parametrize("fault", ["die", "half"])
def test_a_stream_that_breaks_off_ends_with_an_error_event(stack: Stack, fault: str) -> None:
    process = start(stack)
    found = events(chat(stack, fault, stream=True))
    assert "some" in found[0]
    assert found[-2] == "event: error"
    reason = json.loads(found[-1].removeprefix("data: "))["error"]["reason"]
    assert reason == ("worker_lost" if fault == "die" else "model_error")
    assert "data: [DONE]" not in found
    if fault == "die":
        assert process.wait(10) == 3, "the task is restarted with its server"
    else:
        assert chat(stack, "well").status_code == 200


def test_impossible_counts_of_tokens_are_passed_on_and_ignored(stack: Stack) -> None:
    process = start(stack)
    assert events(chat(stack, "miscount", stream=True))[-1] == "data: [DONE]"
    assert process.poll() is None


def test_an_event_that_is_no_json_ends_its_stream_with_an_error_event(stack: Stack) -> None:
    start(stack)
    found = events(chat(stack, "garble", stream=True))
    assert found[-2] == "event: error"
    error = json.loads(found[-1].removeprefix("data: "))["error"]
    assert error["reason"] == "model_error"
    assert error["message"].startswith("the server's answer is not JSON: ")


def test_an_event_without_an_end_is_cut_off(stack: Stack) -> None:
    process = start(stack)
    found = events(chat(stack, "swell", stream=True))
    assert json.loads(found[-1].removeprefix("data: "))["error"]["reason"] == "output_too_large"
    assert process.poll() is None


def test_a_stream_that_hangs_ends_with_an_error_event_at_its_deadline(stack: Stack) -> None:
    start(stack)
    found = events(chat(stack, "hang", stream=True, **{"timeout-ms": "1000"}))
    assert found[-2] == "event: error"
    assert json.loads(found[-1].removeprefix("data: "))["error"]["reason"] == "deadline"


@pytest.mark.parametrize("fault", ["die-first", "half-first", "hang-first"])
@pytest.mark.parametrize("stream", [False, True])
def test_before_the_first_byte_it_is_tried_elsewhere(
    stack: Stack, fault: str, *, stream: bool
) -> None:
    start(stack, fault)
    start(stack, fault)
    answer = chat(stack, "one", stream=stream, **{"timeout-ms": "6000"})
    assert answer.status_code == 200
    assert "one" in answer.text
    pids = (stack.directory / "requests").read_text().split()
    assert len(pids) == len(set(pids)) == 2, "each server got it once"


def test_a_client_that_leaves_ends_the_servers_request(stack: Stack) -> None:
    start(stack)
    url = stack.url("/v1/chat/completions")
    with httpx.stream("POST", url, json=body("endless", stream=True)) as answer:
        next(answer.iter_lines())
    left = Path(f"{stack.directory / 'requests'}.left")
    wait_for(left.exists, "the server's client has left", 10.0)
    wait_for(lambda: not stack.service()["in_flight"], "its slot is free")


def test_errors_of_the_server_reach_the_client(stack: Stack) -> None:
    start(stack, options=("--methods=chat,predict,embed",))
    answer = httpx.post(stack.url("/v1/embeddings"), json={"model": SERVICE, "input": "a"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "bad_input")
    assert "404 of the server" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["--methods=guess", "--", "true"], 2, "expected one of predict, chat"),
        (["--health=up", "--", "true"], 2, 'expected a path such as "/health"'),
        (["--", "/no/such/program"], 2, "does not start"),
        (["--", sys.executable, "-c", "raise SystemExit(7)"], 3, '"status": 7'),
    ],
)
def test_a_server_that_does_not_start(
    stack: Stack, arguments: list[str], status: int, text: str
) -> None:
    process = stack.start_bridge(*arguments, wait=False)
    assert process.wait(20) == status
    assert text in stack.logs()


def test_the_port_is_in_the_environment(stack: Stack) -> None:
    code = f"import os, sys; sys.path.insert(0, {str(EXAMPLES)!r}); import http_server as h; "
    code += "sys.argv[1:] = [os.environ['WATTLINE_HTTP_PORT']]; h.main()"
    stack.start_bridge("--methods=predict", "--", sys.executable, "-c", code)
    assert stack.infer({"input": os.getpid()}).json() == {"output": {"echo": os.getpid()}}
