"""Batches of a real gateway: every row has exactly one result, whatever is killed meanwhile."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from support.programs.serving_stack import SERVICE, Stack, serving_stack, wait_for
from support.store.small_disk import small_disk

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with serving_stack(tmp_path) as made:
        yield made


def start(stack: Stack, *args: str) -> subprocess.Popen[bytes]:
    """A gateway with batches; their directory outlives it."""
    return stack.start_gateway(f"--batch-dir={stack.directory / 'batches'}", *args)


def ports(stack: Stack) -> list[str]:
    """Those of the gateway, for its next start: workers find it again."""
    http, workers = stack.endpoints["http_url"], stack.endpoints["workers"]
    return [f"--http-port={http.split(':')[-1]}", f"--worker-port={workers.split(':')[-1]}"]


def rows(count: int) -> bytes:
    return b"".join(b'{"input": %d, "custom_id": "r%d"}\n' % (n, n) for n in range(count))


def create(stack: Stack, body: bytes, query: str = "", **headers: str) -> httpx.Response:
    url = stack.url(f"/v1/batches?service={SERVICE}{query}")
    return httpx.post(url, content=body, headers=headers, timeout=60)


def batch(stack: Stack, number: str, **headers: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(
        stack.url(f"/v1/batches/{number}"), headers=headers, timeout=30
    ).json()
    return found


def ended(stack: Stack, number: str, **headers: str) -> dict[str, Any]:
    def probe() -> dict[str, Any] | None:
        try:
            found = batch(stack, number, **headers)
        except httpx.TransportError:  # while the gateway restarts
            return None
        return found if found["status"] not in ("in_progress", "cancelling") else None

    found = wait_for(probe, "the end of the batch")
    assert found is not None
    return found


def results(stack: Stack, number: str, query: str = "", **headers: str) -> list[dict[str, Any]]:
    url = stack.url(f"/v1/batches/{number}/results{query}")
    text = httpx.get(url, headers=headers, timeout=60).text
    return [json.loads(line) for line in text.splitlines()]


def has_done(stack: Stack, number: str, least: int) -> bool:
    counts: dict[str, int] = batch(stack, number)["request_counts"]
    return counts["completed"] >= least


def test_rows_are_answered_in_the_order_of_the_input(stack: Stack) -> None:
    start(stack)
    stack.start_counted()
    made = create(stack, rows(500) + b'{"input": -1}\n{"input": 500}')
    assert made.status_code == 201
    number = made.json()["id"]
    followed = results(stack, number, "?follow=true")
    found = ended(stack, number)
    assert found["status"] == "completed"
    assert found["request_counts"] == {"total": 502, "completed": 501, "failed": 1}
    assert [one["line"] for one in followed] == [*range(1, 503)]
    assert [one["output"] for one in followed[:500]] == [2 * n for n in range(500)]
    assert followed[7]["custom_id"] == "r7"
    assert followed[500]["error"]["reason"] == "model_error"
    assert "not JSON" in followed[500]["error"]["message"]
    assert results(stack, number, "?after=500") == followed[500:]
    assert stack.metric("batch_rows_total", service=SERVICE, outcome="completed") == 501
    assert stack.metric("batch_rows_total", service=SERVICE, outcome="failed") == 1
    listed = httpx.get(stack.url("/v1/batches")).json()
    assert [one["id"] for one in listed["data"]] == [number]
    assert httpx.delete(stack.url(f"/v1/batches/{number}")).status_code == 204
    assert batch(stack, number)["error"]["reason"] == "unknown_batch"
    assert [*(stack.directory / "batches").iterdir()] == []


def test_a_killed_gateway_loses_no_row_and_repeats_none(stack: Stack) -> None:
    gateway = start(stack)
    stack.start_counted()
    fixed = ports(stack)
    number = create(stack, rows(3000)).json()["id"]
    for least in (1, 700, 1500, 2200):
        wait_for(partial(has_done, stack, number, least), "some rows")
        before = results(stack, number)
        os.killpg(gateway.pid, signal.SIGKILL)
        gateway.wait(10)
        gateway = start(stack, *fixed)
        assert results(stack, number)[: len(before)] == before  # nothing shown is lost
    assert ended(stack, number)["request_counts"]["completed"] == 3000
    found = results(stack, number)
    assert [one["line"] for one in found] == [*range(1, 3001)]
    assert [one["output"] for one in found] == [2 * n for n in range(3000)]
    assert {*stack.runs()} == {*range(3000)}
    assert len(stack.runs()) - 3000 <= 4 * 256  # those that a crash left behind the last result


def test_what_a_crash_has_torn_is_cut(stack: Stack) -> None:
    gateway = start(stack)
    fixed = ports(stack)
    number = create(stack, rows(3)).json()["id"]
    os.killpg(gateway.pid, signal.SIGKILL)
    gateway.wait(10)
    output = stack.directory / "batches" / number / "output.jsonl"
    output.write_bytes(b'{"line":1,"custom_id":"r0","output":0}\n{"line":2,"outp')
    (stack.directory / "batches" / ".new-batch_x").mkdir()  # an upload
    start(stack, *fixed)
    stack.start_counted()
    assert ended(stack, number)["request_counts"] == {"total": 3, "completed": 3, "failed": 0}
    assert [one["output"] for one in results(stack, number)] == [0, 2, 4]
    assert stack.runs() == [1, 2]


def test_what_the_disk_has_lost_of_a_batch_harms_no_other(stack: Stack) -> None:
    gateway = start(stack)
    fixed = ports(stack)
    folders = [stack.directory / "batches" / create(stack, rows(3)).json()["id"] for _ in range(4)]
    os.killpg(gateway.pid, signal.SIGKILL)
    gateway.wait(10)
    nested, unreadable, short, whole = folders
    (nested / "batch.json").write_bytes(b'{"x":' + b"[" * 60_000)
    (unreadable / "input.jsonl").unlink()
    (unreadable / "input.jsonl").mkdir()
    (short / "input.jsonl").write_bytes(rows(3)[:50])
    start(stack, *fixed)
    stack.start_counted()
    assert ended(stack, whole.name)["request_counts"]["completed"] == 3
    assert ended(stack, short.name)["request_counts"] == {"total": 3, "completed": 1, "failed": 2}
    assert [one["line"] for one in results(stack, short.name)] == [1, 2, 3]
    assert batch(stack, unreadable.name)["status"] == "in_progress"
    assert batch(stack, nested.name)["error"]["reason"] == "unknown_batch"


def test_two_processes_run_a_batch_once_and_both_show_it(stack: Stack) -> None:
    start(stack, "--processes=2")
    stack.start_counted()
    numbers = [create(stack, rows(400)).json()["id"] for _ in range(4)]
    processes = psutil.Process(stack.processes[0].pid).children()
    wait_for(lambda: len(stack.runs()) > 50, "some rows")
    processes[0].kill()
    for number in numbers:
        assert ended(stack, number)["request_counts"]["completed"] == 400
        assert [one["line"] for one in results(stack, number)] == [*range(1, 401)]
    assert len(stack.runs()) <= 1600 + 4 * 256


def test_a_successor_continues_the_batches(stack: Stack) -> None:
    gateway = start(stack)
    stack.start_counted()
    number = create(stack, rows(2000)).json()["id"]
    wait_for(lambda: len(stack.runs()) > 50, "some rows")
    start(stack, "--takeover", *ports(stack))
    assert gateway.wait(20) == 0
    assert ended(stack, number)["request_counts"]["completed"] == 2000
    assert [one["line"] for one in results(stack, number)] == [*range(1, 2001)]


def test_a_key_sees_its_own_batches_and_takes_them_along(stack: Stack) -> None:
    def grant(name: str, **more: object) -> dict[str, Any]:
        digest = sha256(name.encode()).hexdigest()
        return {"name": name, "digest": digest, "services": [SERVICE], **more}

    stack.grants = [grant("ada", rate_per_s=20.0, burst=20), grant("bob")]
    stack.write_routes()
    start(stack, "--closed")
    ada, bob = {"api-key": "ada"}, {"api-key": "bob"}
    stack.start_counted(wait=False)
    wait_for(lambda: stack.infer({"input": 1}, **bob).status_code == 200, "the worker")
    assert create(stack, rows(1)).status_code == 401
    number = create(stack, rows(200), **ada).json()["id"]
    for method, path in (("GET", ""), ("GET", "/results"), ("POST", "/cancel"), ("DELETE", "")):
        url = stack.url(f"/v1/batches/{number}{path}")
        assert httpx.request(method, url, headers=bob).status_code == 404
        assert httpx.request(method, url).status_code == 401
    assert httpx.get(stack.url("/v1/batches"), headers=bob).json()["data"] == []
    wait_for(lambda: len(stack.runs()) > 20, "the rate admits rows")
    assert len(stack.runs()) < 150
    stack.grants = [grant("bob")]
    stack.write_routes()
    state = stack.directory / "batches" / number / "state.json"
    wait_for(lambda: json.loads(state.read_text())["status"] == "failed", "the key's batch ends")
    kept = json.loads(state.read_text())
    assert "revoked" in kept["reason"]
    lines = (state.parent / "output.jsonl").read_text().splitlines()
    assert [json.loads(line)["line"] for line in lines] == [*range(1, 201)]
    assert json.loads(lines[-1])["error"]["reason"] == "key_revoked"
    files = [one.read_text() for one in state.parent.iterdir()]
    assert not any('"ada"' in text.replace('"key_name":"ada"', "") for text in files)


def test_cancelled_and_expired_batches_have_a_result_for_each_row(stack: Stack) -> None:
    start(stack)
    stack.start_held("--capacity=4")
    first = create(stack, rows(300)).json()["id"]
    wait_for(lambda: stack.ran(0), "the first row runs")
    second = create(stack, rows(300), "&completion_window=1s").json()["id"]
    answer = httpx.post(stack.url(f"/v1/batches/{first}/cancel")).json()
    assert answer["status"] == "cancelling"
    refused = httpx.delete(stack.url(f"/v1/batches/{first}"))
    assert (refused.status_code, refused.json()["error"]["reason"]) == (409, "batch_open")
    found = ended(stack, second)
    assert found["status"] == "expired"
    assert {one["error"]["reason"] for one in results(stack, second)} == {"batch_expired"}
    stack.let_go()
    assert ended(stack, first)["status"] == "cancelled"
    lines = results(stack, first)
    assert [one["line"] for one in lines] == [*range(1, 301)]
    assert lines[0]["output"] == 0
    assert lines[-1]["error"]["reason"] == "batch_cancelled"


def test_rows_wait_for_workers_and_leave_slots_to_requests(stack: Stack) -> None:
    start(stack, "--hold-s=0")
    number = create(stack, rows(50)).json()["id"]
    wait_for(lambda: batch(stack, number).get("waiting") == "idle_replicas", "it waits")
    worker = stack.start_held("--capacity=8")
    wait_for(lambda: stack.service()["in_flight"] > 0, "rows run")
    assert stack.service()["in_flight"] <= 4  # half of the slots
    worker.kill()
    worker.wait(10)
    stack.let_go()
    stack.start_held(wait=False)
    assert ended(stack, number)["request_counts"] == {"total": 50, "completed": 50, "failed": 0}


NO_ROWS = [
    (b"", "no rows"),
    (b'{"input": 1}\n\n{"input": 2}', "line 2"),
    (b'{"input": 1}\n{"inputs": [1]}', "line 2: Object contains unknown field `inputs`"),
    (b'{"input": 1}\n{"input": ', "line 2"),
    (b'{"url": "/v1/chat/completions", "body": {"model": "other"}}', "`model`"),
    (b'{"url": "/v1/chat/completions", "body": {"model": "svc", "stream": true}}', "stream"),
    (b'{"input": 1, "url": "/v1/chat/completions"}', "expected"),
]


def test_a_file_with_a_line_that_is_no_row_is_refused(stack: Stack) -> None:
    start(stack)
    stack.start_worker()
    for body, words in NO_ROWS:
        answer = create(stack, body)
        assert answer.status_code == 400
        assert words in answer.json()["error"]["message"]
    assert [*(stack.directory / "batches").iterdir()] == []


def test_refusals_say_what_would_be_right(stack: Stack) -> None:
    start(stack)
    stack.start_worker()
    text = create(stack, rows(1), "&completion_window=30d").json()["error"]["message"]
    assert "at most 7d" in text
    url = stack.url("/v1/batches?service=nosuch")
    answer = httpx.post(url, content=rows(1))
    assert answer.status_code == 404
    assert "known services: svc" in answer.json()["error"]["message"]
    assert httpx.post(stack.url("/v1/batches"), content=rows(1)).status_code == 400
    too_many = b'{"input":1}\n' * 100_001
    assert create(stack, too_many).status_code == 413
    assert create(stack, b'{"input": "' + b"x" * 1024 * 1024 + b'"}').status_code == 413
    for path in ("/v1/batches/batch_..", "/v1/batches/" + "batch_" + "0" * 32):
        assert httpx.get(stack.url(path)).status_code == 404


def test_a_client_has_few_open_batches(stack: Stack) -> None:
    start(stack)
    numbers = [create(stack, rows(1)).json()["id"] for _ in range(16)]
    refused = create(stack, rows(1))
    assert refused.status_code == 429
    assert refused.json()["error"]["reason"] == "too_many_batches"
    httpx.post(stack.url(f"/v1/batches/{numbers[0]}/cancel"))
    assert ended(stack, numbers[0])["request_counts"] == {"total": 1, "completed": 0, "failed": 1}
    assert create(stack, rows(1)).status_code == 201
    page = httpx.get(stack.url("/v1/batches?limit=10")).json()
    rest = httpx.get(stack.url(f"/v1/batches?limit=10&after={page['data'][-1]['id']}")).json()
    assert (page["has_more"], rest["has_more"]) == (True, False)
    assert len({one["id"] for one in page["data"] + rest["data"]}) == 17


def test_without_a_directory_there_are_no_batches(stack: Stack) -> None:
    stack.start_gateway()
    answer = create(stack, rows(1))
    assert answer.status_code == 501
    assert "--batch-dir" in answer.json()["error"]["message"]


def test_a_full_disk_keeps_what_was_accepted(stack: Stack, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 8, inodes=100) as disk:
        disk.fill()
        options = ("--batch-reserve-bytes=1000000", f"--body-log={disk.path / 'new' / 'bodies'}")
        folder = disk.path / "new" / "batches"
        stack.start_gateway(f"--batch-dir={folder}", *options, enter=disk.enter)
        stack.start_counted()
        assert create(stack, rows(20)).json()["error"]["reason"] == "disk_full"
        assert httpx.get(stack.url("/v1/batches")).json()["data"] == []
        assert stack.infer({"input": 1}).json() == {"output": 2}
        disk.free()
        number = create(stack, rows(20)).json()["id"]
        assert ended(stack, number)["status"] == "completed"
        disk.fill()
        assert create(stack, rows(20)).status_code == 507
        disk.free()
        second = create(stack, rows(2000)).json()["id"]
        disk.fill()
        wait_for(lambda: batch(stack, second).get("waiting") == "disk_full", "it waits")
        assert create(stack, rows(20)).json()["error"]["reason"] == "disk_full"
        disk.free()
        assert ended(stack, second)["request_counts"]["completed"] == 2000
        assert len(results(stack, second)) == 2000


def test_what_the_disk_refuses_is_named_without_a_path(stack: Stack, tmp_path: Path) -> None:
    start(stack)
    (tmp_path / "batches").rename(tmp_path / "elsewhere")
    for answer in (create(stack, rows(20)), httpx.get(stack.url("/v1/batches"))):
        error = answer.json()["error"]
        assert (answer.status_code, error["reason"]) == (503, "disk_error")
        assert "No such file or directory" in error["message"]
        assert str(tmp_path) not in error["message"]


def test_rows_may_be_requests_of_openai(stack: Stack) -> None:
    start(stack)
    model = Path(__file__).parents[3] / "examples/serving/chat.py"
    stack.start_worker(model=f"{model}:Backwards")
    body = {"model": SERVICE, "messages": [{"role": "user", "content": "hello"}]}
    row = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    number = create(stack, json.dumps(row).encode()).json()["id"]
    assert ended(stack, number)["request_counts"]["completed"] == 1
    (line,) = results(stack, number)
    assert line["custom_id"] == "a"
    assert line["output"]["choices"][0]["message"]["content"]
