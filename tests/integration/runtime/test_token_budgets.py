"""Token budgets at a real gateway: what is counted, and what is refused."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from support.programs.serving_stack import SERVICE, Stack, serving_stack, wait_for

EXAMPLES = Path(__file__).parents[3] / "examples" / "serving"
HUNDRED = " ".join(str(n) for n in range(100))


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with serving_stack(tmp_path) as running:
        yield running


def grant(stack: Stack, *names: str, tokens_per_day: int) -> None:
    """Keys that are their own names."""
    stack.grants = [
        {
            "name": name,
            "digest": sha256(name.encode()).hexdigest(),
            "services": [SERVICE, "vectors"],
            "tokens_per_day": tokens_per_day,
        }
        for name in names
    ]
    stack.write_routes()


def post(stack: Stack, key: str, path: str, body: object) -> httpx.Response:
    return httpx.post(stack.url(path), json=body, headers={"api-key": key}, timeout=30)


def chat(stack: Stack, key: str, text: str, *, stream: bool = False) -> httpx.Response:
    body = {"model": SERVICE, "messages": [{"role": "user", "content": text}], "stream": stream}
    return post(stack, key, "/v1/chat/completions", body)


def embed(stack: Stack, key: str, *texts: str) -> httpx.Response:
    return post(stack, key, "/v1/embeddings", {"model": "vectors", "input": texts})


def refused(stack: Stack, key: str) -> bool:
    return chat(stack, key, "one").status_code == 429


def test_answers_streams_and_embeddings_use_a_budget_up(stack: Stack) -> None:
    grant(stack, "whole", "stream", "left", "embeds", tokens_per_day=50)
    stack.start_gateway("--closed")
    stack.start_worker(model=f"{EXAMPLES / 'chat.py'}:Backwards", wait=False)
    stack.start_worker(model=f"{EXAMPLES / 'embed.py'}:Letters", service="vectors", wait=False)
    wait_for(lambda: chat(stack, "whole", "a").is_success, "an answer")  # of two tokens

    assert chat(stack, "whole", "a b c").json()["usage"]["total_tokens"] == 6
    assert chat(stack, "whole", HUNDRED).is_success, "admitted, so answered"
    answer = chat(stack, "whole", "a")
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 86_400
    error = answer.json()["error"]
    assert (error["reason"], error["code"]) == ("budget_used_up", "insufficient_quota")
    assert (
        "the limit is 50 tokens a day (budget of API key whole), 208 are used" in error["message"]
    )
    infer = f"/v1/services/{SERVICE}/infer"
    assert post(stack, "whole", infer, {"input": 1}).status_code == 429

    assert chat(stack, "stream", HUNDRED, stream=True).text.count("data: ") > 100
    assert refused(stack, "stream")

    assert embed(stack, "embeds", "a b", "c").json()["usage"]["total_tokens"] == 3
    assert embed(stack, "embeds", HUNDRED).is_success
    assert "50 tokens a day" in embed(stack, "embeds", "d").json()["error"]["message"]


def test_a_stream_counts_while_it_runs(stack: Stack) -> None:
    grant(stack, "left", tokens_per_day=50)
    stack.start_gateway("--closed")
    model = f"{EXAMPLES / 'chat.py'}:Backwards"
    stack.start_worker("--arg=pause_ms=5", model=model, wait=False)
    wait_for(lambda: chat(stack, "left", "a").is_success, "an answer")
    body = {
        "model": SERVICE,
        "messages": [{"role": "user", "content": " ".join([HUNDRED] * 20)}],
        "stream": True,
    }
    url, bearer = stack.url("/v1/chat/completions"), {"api-key": "left"}
    with httpx.stream("POST", url, json=body, headers=bearer, timeout=30) as opened:
        pieces = (line for line in opened.iter_lines() if line)
        for _ in range(60):
            next(pieces)
        assert refused(stack, "left")
        assert next(pieces), "it is answered to its end"
    assert refused(stack, "left"), "its client has left, with the pieces that it got"


def test_processes_of_a_gateway_use_one_budget(stack: Stack) -> None:
    grant(stack, "both", tokens_per_day=400)
    stack.start_gateway("--closed", "--processes=2")
    stack.start_worker(model=f"{EXAMPLES / 'chat.py'}:Backwards", wait=False)
    wait_for(lambda: chat(stack, "both", "a").is_success, "an answer")
    used, answers = 2, 0

    def is_used_up() -> bool:
        nonlocal used, answers
        answer = chat(stack, "both", "a b c d e f g h i j")
        used += answer.json()["usage"]["total_tokens"] if answer.is_success else 0
        answers += answer.is_success
        return "next day begins" in answer.json().get("error", {}).get("message", "")

    wait_for(is_used_up, "the end of the budget")
    assert 400 <= used <= 400 + 400, "each process has its part, and answers what it admitted"
