"""Kept answers and fallbacks over HTTP, with real processes."""

import concurrent.futures as cf
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.programs.serving_stack import SERVICE, Stack, serving_stack, wait_for

CACHE = {"cache_ttl_s": 60.0, "cache_bytes": 1_000_000}


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with serving_stack(tmp_path) as running:
        yield running


def test_answers_are_kept_while_no_worker_is_left_and_until_the_next_revision(
    stack: Stack,
) -> None:
    stack.settings[SERVICE] = CACHE
    stack.start_gateway("--hold-s=0")
    worker = stack.start_worker()
    first, again = (stack.infer({"input": [1]}) for _ in range(2))
    assert [r.headers["wattline-cache"] for r in (first, again)] == ["miss", "hit"]
    assert first.content == again.content == b'{"output":[1]}'
    unkept = stack.infer({"input": [1]}, **{"cache-control": "no-store"})
    assert unkept.headers["wattline-cache"] == "miss"
    both = stack.infer({"inputs": [[1], [2]]})
    assert (both.headers["wattline-cache"], both.json()) == ("miss", {"outputs": [[1], [2]]})
    assert stack.metric("cache_hits_total", service=SERVICE) == 2
    assert stack.metric("cache_bytes", service=SERVICE) > 0

    worker.send_signal(signal.SIGKILL)
    wait_for(lambda: not stack.ready_workers(), "the worker is lost")
    assert stack.infer({"inputs": [[1], [2]]}).headers["wattline-cache"] == "hit"
    refused = stack.infer({"input": [3]})
    assert (refused.status_code, refused.json()["error"]["reason"]) == (503, "no_worker")

    stack.routes[SERVICE].clear()
    stack.start_worker(job=2)
    assert stack.infer({"input": [1]}).headers["wattline-cache"] == "miss"


def test_equal_requests_run_once(stack: Stack) -> None:
    stack.settings[SERVICE] = CACHE
    stack.start_gateway()
    stack.start_held("--max-batch-cost=1")
    with cf.ThreadPoolExecutor(8) as pool:
        replies = [pool.submit(stack.infer, {"input": 7})]
        # The others have more time than this one, so that they wait for it.
        wait_for(lambda: stack.metric("cache_misses_total", service=SERVICE) == 1, "one runs")
        replies += [pool.submit(stack.infer, {"input": 7}) for _ in range(7)]
        wait_for(lambda: stack.metric("cache_hits_total", service=SERVICE) == 7, "all wait")
        stack.let_go()
        assert {r.result().json()["output"] for r in replies} == {7}
    assert stack.metric("cache_misses_total", service=SERVICE) == 1


def test_what_a_service_cannot_answer_its_fallback_answers(stack: Stack) -> None:
    stack.settings[SERVICE] = {"fallback": ["small", 'static:{"label":null}']}
    stack.start_gateway("--hold-s=0")
    stack.routes["small"] = []
    stack.write_routes()
    wait_for(lambda: stack.service("small").get("name"), "the routes are known")
    plain = stack.infer({"input": 1})
    assert (plain.json(), plain.headers["wattline-answer"]) == (
        {"output": {"label": None}},
        "fallback",
    )
    stack.start_worker(service="small", job=2)
    many = stack.infer({"inputs": [1, 2]})
    assert (many.json(), many.headers["wattline-answer"]) == ({"outputs": [1, 2]}, "fallback")
    assert stack.metric("fallbacks_total", service=SERVICE, by="small") == 2
    stack.start_worker()
    own = stack.infer({"input": 1})
    assert own.status_code == 200
    assert "wattline-answer" not in own.headers


def test_where_no_fallback_answers_one_error_names_each(stack: Stack) -> None:
    stack.settings[SERVICE] = {"fallback": ["small", "gone"]}
    stack.routes["small"] = []
    stack.write_routes()
    stack.start_gateway("--hold-s=0")
    wait_for(lambda: stack.service("small").get("name"), "the routes are known")
    reply = stack.infer({"input": 1})
    assert reply.status_code == 503
    text = reply.json()["error"]["message"]
    for part in ("svc: no worker", "small: no worker", "gone: there is no service"):
        assert part in text
