"""Clients that abuse a real gateway, which no scheduler helps: it blocks by itself."""

from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from support.programs.serving_stack import SERVICE, Stack, serving_stack, wait_for

INFER = f"/v1/services/{SERVICE}/infer"
OVERSIZE = b'{"input": "' + b"x" * 1_100_000


def post(stack: Stack, body: bytes, headers: dict[str, str]) -> str:
    """Status, and the reason of a refusal."""
    answer = httpx.post(stack.url(INFER), content=body, headers=headers, timeout=30)
    return f"{answer.status_code} {answer.json().get('error', {}).get('reason', '')}".strip()


def abuse(stack: Stack, body: bytes, headers: dict[str, str]) -> set[str]:
    with ThreadPoolExecutor(8) as pool:
        return set(pool.map(lambda _: post(stack, body, headers), range(110)))


@pytest.mark.parametrize("body", [b"{", OVERSIZE], ids=["malformed", "oversize"])
def test_a_key_is_slowed_then_blocked_and_one_beside_it_is_not(tmp_path: Path, body: bytes) -> None:
    with serving_stack(tmp_path) as stack:
        stack.grants = [
            {"name": name, "digest": sha256(name.encode()).hexdigest(), "services": [SERVICE]}
            for name in ("bad", "good")
        ]
        stack.write_routes()
        stack.start_gateway("--closed", "--abuse")
        stack.start_worker(wait=False)
        bad, good = {"api-key": "bad"}, {"api-key": "good"}
        wait_for(lambda: post(stack, b'{"input": 1}', good) == "200", "an answer")
        wait_for(lambda: "429 blocked" in abuse(stack, body, bad), "the block")
        assert "client_slowed" in stack.logs()
        answer = httpx.post(stack.url(INFER), content=b"{", headers=bad)
        assert 0 < int(answer.headers["retry-after"]) <= 600
        message = answer.json()["error"]["message"]
        assert message.startswith("this API key is blocked for ")
        assert ("too large" if body is OVERSIZE else "repeated after a failure") in message
        assert httpx.get(stack.url("/v1/services"), headers=bad).status_code == 429
        assert post(stack, b'{"input": 1}', good) == "200", "of the same address"


def test_an_open_gateway_blocks_an_address_behind_its_proxy_only(tmp_path: Path) -> None:
    with serving_stack(tmp_path) as stack:
        stack.start_gateway("--abuse", "--trusted-proxies", "127.0.0.0/8")
        stack.start_worker()
        bad, good = ({"x-forwarded-for": f"192.0.2.{n}"} for n in (1, 2))
        wait_for(lambda: "429 blocked" in abuse(stack, b"{", bad), "the block")
        assert post(stack, b'{"input": 1}', good) == "200"
        assert post(stack, b'{"input": 1}', {}) == "200", "the proxy itself"
