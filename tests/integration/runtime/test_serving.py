"""Gateway and workers as real processes: HTTP in, CURVE between, and every way to fail."""

import concurrent.futures as cf
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import zmq

from support.programs.serving_stack import SERVICE, Stack, serving_stack, wait_for
from wattline_protocol.trust.keys import KeyPair

LATE_S = 10.0
"""A machine that stands still may do it so much later."""


FRAIL_MODEL = """
import os

class Frail:
    def load(self, args): ...

    def predict(self, batch):
        if "poison" in batch:
            os._exit(1)
        return batch
"""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with serving_stack(tmp_path) as running:
        yield running


@pytest.fixture
def pool() -> Iterator[cf.ThreadPoolExecutor]:
    with cf.ThreadPoolExecutor(16) as executor:
        yield executor


def test_two_workers_answer_and_everything_can_be_seen(
    stack: Stack, pool: cf.ThreadPoolExecutor
) -> None:
    stack.start_gateway()
    stack.start_worker()
    stack.start_worker()
    replies = list(pool.map(lambda n: stack.infer({"input": [n]}), range(60)))
    assert [r.json() for r in replies] == [{"output": [n]} for n in range(60)]
    many = stack.infer({"inputs": ["a", {"b": None}, 3.5], "timeout_ms": 5000})
    assert many.json() == {"outputs": ["a", {"b": None}, 3.5]}
    assert len(stack.ready_workers()) == 2
    assert httpx.get(stack.url("/healthz")).json() == {"status": "ok"}
    assert stack.metric("requests_total", service=SERVICE, status="200") == 61
    assert stack.metric("latency_seconds_count", service=SERVICE) == 61
    assert stack.metric("workers", service=SERVICE) == 2


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"{not json", 400, "expected"),
        ({"inputz": 1}, 400, "unknown field `inputz`"),
        ({}, 400, "expected either `input` or `inputs`"),
        ({"input": 1, "inputs": [1]}, 400, "expected either"),
        ({"inputs": []}, 400, "1 to 256 are accepted"),
        ({"inputs": [1] * 257}, 400, "257 inputs"),
        ({"input": 1, "timeout_ms": 0}, 400, "1 to 600000"),
        ({"input": 1, "timeout_ms": "soon"}, 400, "timeout_ms"),
        ({"inputs": [1, {"refuse": "no such colour"}]}, 422, "input 1: no such colour"),
        (b'{"input":"' + b"x" * 1_048_577 + b'"}', 413, "1048576 bytes"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_requests_are_told_what_is_wrong(
    shared_stack: Stack, body: object, status: int, text: str
) -> None:
    reply = shared_stack.infer(body)
    assert reply.status_code == status
    assert text in reply.json()["error"]["message"]


def test_wrong_addresses_are_told_the_right_ones(shared_stack: Stack) -> None:
    reply = shared_stack.infer({"input": 1}, service="other")
    assert (reply.status_code, reply.json()["error"]["message"]) == (
        404,
        "there is no service 'other'; known services: svc",
    )
    url = shared_stack.url("/v1/services/svc/infer")
    reply = httpx.get(url)
    assert (reply.status_code, reply.headers["allow"]) == (405, "POST")
    reply = httpx.get(shared_stack.url("/v2"))
    assert reply.status_code == 404
    assert "GET /v1/services" in reply.json()["error"]["message"]
    for text in (b"soon", b"\xb2", b"-1", b"9" * 10):
        reply = httpx.post(url, json={"input": 1}, headers=[(b"timeout-ms", text)])
        assert reply.status_code == 400


def test_a_chunked_body_is_limited_too(shared_stack: Stack) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"input":"'
        for _ in range(40):
            yield b"x" * 65536

    url = shared_stack.url(f"/v1/services/{SERVICE}/infer")
    assert httpx.post(url, content=chunks()).status_code == 413
    small = httpx.post(url, content=iter([b'{"input"', b":7}"]))
    assert small.json() == {"output": 7}


@pytest.fixture(scope="module")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with serving_stack(tmp_path_factory.mktemp("shared")) as running:
        running.start_gateway()
        running.start_worker()
        yield running


def test_an_unknown_key_is_refused_until_a_route_names_it(stack: Stack) -> None:
    stack.start_gateway()
    stack.start_worker(listed=False, wait=False)
    wait_for(lambda: stack.metric("workers_refused_total", reason="unknown_key"), "it was refused")
    reply = stack.infer({"input": 1})
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert stack.service()["workers"] == []
    stack.routes[SERVICE].append(stack.last_route)
    stack.write_routes()
    wait_for(stack.ready_workers, "the worker is let in without a restart")
    assert stack.infer({"input": 1}).json() == {"output": 1}


def test_metrics_forget_a_service_that_is_no_more(stack: Stack) -> None:
    """Otherwise they would grow with each service that a user starts and ends."""
    stack.routes["short"] = []
    stack.write_routes()
    stack.start_gateway("--hold-s=0")
    for service in ("short", SERVICE, "none"):
        stack.infer({"input": 1}, service=service)
    assert stack.metric("requests_total", service="short", status="503") == 1
    del stack.routes["short"]
    stack.write_routes()
    wait_for(lambda: "short" not in httpx.get(stack.url("/metrics")).text, "it is forgotten")
    assert stack.metric("errors_total", service=SERVICE, reason="no_worker") == 1
    assert stack.metric("requests_total", service="-", status="404") == 1


def test_a_worker_whose_route_is_gone_gets_nothing_more(stack: Stack) -> None:
    stack.start_gateway()
    stack.start_worker()
    stack.routes[SERVICE].clear()
    stack.write_routes()
    wait_for(lambda: not stack.service()["workers"], "the worker is out of the books")
    assert stack.infer({"input": 1}).status_code == 503
    wait_for(lambda: stack.metric("workers_refused_total", reason="unknown_key"), "it stays out")


def test_a_full_queue_answers_429_at_once(stack: Stack, pool: cf.ThreadPoolExecutor) -> None:
    stack.start_gateway("--queue-limit=2")
    stack.start_held("--capacity=1")
    inside = [pool.submit(stack.infer, {"input": n}) for n in range(3)]
    wait_for(lambda: stack.service()["queue_length"] == 2, "the queue is full")
    reply = stack.infer({"input": 9})  # while nothing that is inside can be answered
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "1")
    assert reply.json()["error"]["reason"] == "queue_full"
    stack.let_go()
    assert [f.result().status_code for f in inside] == [200, 200, 200]
    assert not stack.ran(9)


def test_a_killed_workers_request_is_answered_by_another(
    stack: Stack, pool: cf.ThreadPoolExecutor
) -> None:
    stack.start_gateway()
    stack.start_held()
    stack.start_held()
    reply = pool.submit(stack.infer, {"input": 5})
    [pid] = wait_for(lambda: stack.ran(5), "a worker runs it")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(stack.ran(5)) == 2, "another worker runs it")
    stack.let_go()
    assert reply.result().json() == {"output": 5}
    assert stack.metric("retried_total", service=SERVICE) == 1


def test_a_request_that_ends_its_workers_ends_two_and_is_refused(
    stack: Stack, pool: cf.ThreadPoolExecutor
) -> None:
    (stack.directory / "frail.py").write_text(FRAIL_MODEL)
    stack.start_gateway()
    workers = [stack.start_worker(model=f"{stack.directory / 'frail.py'}:Frail") for _ in range(3)]
    poison = pool.submit(stack.infer, {"input": "poison"})
    others = [pool.submit(stack.infer, {"input": n}) for n in range(30)]
    assert poison.result().status_code == 422
    assert poison.result().json()["error"]["reason"] == "poison"
    assert [f.result().json() for f in others] == [{"output": n} for n in range(30)]
    assert stack.infer({"input": "poison"}).status_code == 422
    wait_for(lambda: sum(w.poll() is None for w in workers) == 1, "two have ended")
    assert stack.infer({"input": 1}).json() == {"output": 1}


def test_when_the_last_worker_dies_and_none_is_waited_for_clients_are_told_at_once(
    stack: Stack, pool: cf.ThreadPoolExecutor
) -> None:
    stack.start_gateway("--hold-s=0")
    worker = stack.start_held()
    reply = pool.submit(stack.infer, {"input": 5})
    wait_for(lambda: stack.ran(5), "the worker runs it")
    worker.kill()
    assert reply.result(LATE_S).status_code == 503
    assert reply.result().json()["error"]["reason"] == "worker_lost"


def test_a_deadline_is_kept_and_late_requests_never_run(
    stack: Stack, pool: cf.ThreadPoolExecutor
) -> None:
    stack.start_gateway()
    stack.start_held("--max-batch-cost=1")
    first = pool.submit(stack.infer, {"input": 1})
    wait_for(lambda: stack.ran(1), "the model is busy")
    start_s = time.monotonic()
    reply = stack.infer({"input": 2}, **{"timeout-ms": "150"})
    assert reply.status_code == 504
    assert 0.1 < time.monotonic() - start_s < LATE_S
    stack.let_go()
    assert first.result().status_code == 200
    assert stack.infer({"input": 3}).status_code == 200
    assert not stack.ran(2)


def test_a_client_that_leaves_takes_its_request_along(
    stack: Stack, pool: cf.ThreadPoolExecutor
) -> None:
    stack.start_gateway()
    stack.start_held("--max-batch-cost=1")
    first = pool.submit(stack.infer, {"input": 1})
    wait_for(lambda: stack.ran(1), "the model is busy")
    parts = urlsplit(stack.endpoints["http_url"])
    with socket.create_connection((parts.hostname, parts.port)) as client:
        head = (
            f"POST /v1/services/{SERVICE}/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 11\r\n\r\n"
        )
        client.sendall(head.encode() + b'{"input":2}')
        wait_for(lambda: stack.service()["in_flight"] == 2, "the request is inside")
    wait_for(lambda: stack.service()["in_flight"] == 1, "it is gone with its client")
    stack.let_go()
    assert first.result().status_code == 200
    assert stack.infer({"input": 3}).status_code == 200
    assert not stack.ran(2)


@pytest.mark.parametrize("how", ["signal", "stop file"])
def test_a_stopped_worker_finishes_what_it_holds(
    stack: Stack, pool: cf.ThreadPoolExecutor, how: str
) -> None:
    stack.start_gateway()
    worker = stack.start_held()
    reply = pool.submit(stack.infer, {"input": 1})
    wait_for(lambda: stack.ran(1), "the model is busy")
    if how == "signal":
        worker.terminate()
    else:
        (stack.directory / "stop-1").touch()
    wait_for(lambda: not stack.ready_workers(), "the gateway knows that it drains")
    assert stack.infer({"input": 2}).status_code == 503
    stack.let_go()
    assert reply.result().json() == {"output": 1}
    assert worker.wait(LATE_S) == 0


def test_a_worker_whose_model_hangs_is_gone_within_five_seconds(
    stack: Stack, pool: cf.ThreadPoolExecutor
) -> None:
    stack.start_gateway()
    worker = stack.start_held()
    reply = pool.submit(stack.infer, {"input": 1})
    wait_for(lambda: stack.ran(1), "the model is busy")
    worker.terminate()
    assert worker.wait(5 + LATE_S) == 0
    assert reply.result().status_code == 503


def test_what_a_hung_model_holds_is_answered_by_another_in_time(stack: Stack) -> None:
    stack.start_gateway()
    stack.start_held()
    stack.start_worker()
    reply = stack.infer({"input": 5}, **{"timeout-ms": "15000"})
    assert stack.ran(5), "the held worker had it first"
    assert reply.json() == {"output": 5}
    assert "worker_stalled" in stack.logs()


def test_a_worker_whose_batch_hangs_ends_with_a_stack_dump(stack: Stack) -> None:
    stack.start_gateway()
    worker = stack.start_held("--batch-timeout=1")
    stack.start_worker()
    assert stack.infer({"input": 5}).json() == {"output": 5}
    assert stack.ran(5), "the held worker had it first"
    assert worker.wait(LATE_S) == 4
    assert "batch_timeout" in stack.logs()
    assert 'held.py", line' in stack.logs()


def test_a_worker_that_was_frozen_does_not_take_its_model_for_hung(
    stack: Stack, pool: cf.ThreadPoolExecutor
) -> None:
    stack.start_gateway()
    worker = stack.start_held("--batch-timeout=2")
    reply = pool.submit(stack.infer, {"input": 5})
    wait_for(lambda: stack.ran(5), "the model is busy")
    worker.send_signal(signal.SIGSTOP)
    time.sleep(2.2)  # longer than the limit, shorter than the silence of a lost worker
    worker.send_signal(signal.SIGCONT)
    time.sleep(0.6)  # it beats again
    stack.let_go()
    assert reply.result().json() == {"output": 5}
    assert worker.poll() is None


def test_a_stopped_gateway_answers_what_is_inside_and_is_gone_within_five_seconds(
    stack: Stack, pool: cf.ThreadPoolExecutor
) -> None:
    gateway = stack.start_gateway()
    worker = stack.start_held("--max-batch-cost=1")
    replies = [pool.submit(stack.infer, {"input": n}) for n in range(3)]
    wait_for(lambda: stack.service()["in_flight"] == 3, "all are inside")
    start_s = time.monotonic()
    gateway.terminate()
    assert sorted(r.result().json()["error"]["reason"] for r in replies) == ["stopping"] * 3
    assert gateway.wait(5 + LATE_S) == 0
    assert time.monotonic() - start_s < 5 + LATE_S
    with pytest.raises(httpx.ConnectError):
        stack.infer({"input": 1})
    worker.terminate()
    stack.let_go()
    assert worker.wait(LATE_S) == 0


def test_a_gateway_that_stops_lets_running_requests_finish(
    stack: Stack, pool: cf.ThreadPoolExecutor
) -> None:
    gateway = stack.start_gateway()
    stack.start_held()
    reply = pool.submit(stack.infer, {"input": 1})
    wait_for(lambda: stack.ran(1), "the model is busy")
    gateway.terminate()
    wait_for(lambda: "gateway_stopping" in stack.logs(), "it is stopping")
    stack.let_go()
    assert reply.result().json() == {"output": 1}
    assert gateway.wait(5 + LATE_S) == 0


def test_workers_find_a_restarted_gateway(stack: Stack) -> None:
    gateway = stack.start_gateway()
    stack.start_worker()
    gateway.kill()
    gateway.wait()
    ports = {name: urlsplit(stack.endpoints[name]).port for name in ("http_url", "workers")}
    stack.start_gateway(f"--http-port={ports['http_url']}", f"--worker-port={ports['workers']}")
    wait_for(stack.ready_workers, "the worker is back")
    assert stack.infer({"input": 1}).json() == {"output": 1}


def test_a_malformed_message_costs_only_its_sender(stack: Stack) -> None:
    stack.start_gateway()
    stack.start_worker()
    keys = KeyPair.generate()
    ref = {"job": 1, "task": 99, "attempt": 1}
    stack.routes[SERVICE].append({"ref": ref, "public_key": keys.public})
    stack.write_routes()
    with zmq.Context() as context:

        def knocks() -> float:
            with context.socket(zmq.DEALER) as rogue:
                rogue.linger = 200
                rogue.curve_secretkey = keys.secret.encode()
                rogue.curve_publickey = keys.public.encode()
                rogue.curve_serverkey = stack.endpoints["public_key"].encode()
                rogue.connect(stack.endpoints["workers"])
                rogue.send(b"\xc1 not MessagePack")
                rogue.send_multipart([b"too", b"many", b"parts"])
            refused = ("workers_refused_total", "malformed"), ("workers_refused_total", "frames")
            return min(stack.metric(name, reason=reason) for name, reason in refused)

        wait_for(lambda: knocks() >= 1, "it is counted")
    assert stack.infer({"input": 1}).json() == {"output": 1}


def test_a_bad_edit_of_the_routes_file_is_passed_over(stack: Stack) -> None:
    stack.start_gateway()
    stack.start_worker()
    (stack.directory / "routes.json").write_text('{"services": {"svc": [{"ref": 1}]}}')
    wait_for(lambda: "routes_file_invalid" in stack.logs(), "it is logged")
    assert stack.infer({"input": 1}).json() == {"output": 1}
