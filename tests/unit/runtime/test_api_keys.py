"""API keys at the gateway: what opens what, and how wrong ones are answered."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

import pytest

from wattline_protocol.ids import UnixTime
from wattline_protocol.wire.api_keys import ApiKeyGrant
from wattline_runtime.gateway.access.check import Access
from wattline_runtime.gateway.access.failed_keys import FREE, MAX_ADDRESSES, MAX_DELAY_S, FailedKeys
from wattline_runtime.gateway.access.key_ring import ApiKeyRing
from wattline_runtime.gateway.errors import STATUS, BadRequest


def grant(secret: str, *services: str, expires_unix_s: float | None = None) -> ApiKeyGrant:
    digest = hashlib.sha256(secret.encode()).hexdigest()
    expires = None if expires_unix_s is None else UnixTime(expires_unix_s)
    return ApiKeyGrant(secret, digest, services, expires_unix_s=expires)


def ring(*grants: ApiKeyGrant, valid_s: float = 1e9) -> ApiKeyRing:
    made = ApiKeyRing(valid_s)
    made.learn(grants, 100.0)
    return made


def test_a_key_is_found_by_its_secret_until_it_expires_or_is_granted_no_more() -> None:
    keys = ring(grant("one", "echo"), grant("two", expires_unix_s=50.0))
    found = keys.find(b"one", 1e12)
    assert found is not None
    assert (found.name, found.services) == ("one", frozenset({"echo"}))
    assert keys.find(b"two", 49.0) is not None
    assert keys.find(b"two", 50.0) is None
    assert keys.find(b"three", 0.0) is None
    assert keys.find(b"", 0.0) is None
    keys.learn([], 200.0)
    assert keys.find(b"one", 0.0) is None


def test_keys_without_news_are_outdated_after_their_time() -> None:
    keys = ring(valid_s=60.0)
    assert not keys.is_outdated(160.0)
    assert keys.is_outdated(160.1)
    keys.learn([], 160.0)
    assert not keys.is_outdated(220.0)


def test_failures_of_an_address_are_answered_later_and_later_then_forgiven() -> None:
    book = FailedKeys()
    delays = [book.delay_s("a", 0.0) for _ in range(FREE + 12)]
    assert delays[:FREE] == [0.0] * FREE
    assert delays[FREE] > 0
    assert delays == sorted(delays)
    assert delays[-1] == MAX_DELAY_S
    assert book.delay_s("b", 0.0) == 0.0, "another address"
    assert book.delay_s("a", 1e6) == 0.0, "long after"
    assert book.total == FREE + 14


def test_memory_of_failures_is_bounded() -> None:
    book = FailedKeys()
    for number in range(3 * MAX_ADDRESSES):
        book.delay_s(str(number), 0.0)
        book.delay_s("often", 0.0)
    assert len(book._by_address) == MAX_ADDRESSES
    assert book.worst(1) == {"often": 3 * MAX_ADDRESSES}


async def known(_: float) -> bool:
    return True


async def never(_: float) -> bool:
    return False


def ask(
    keys: ApiKeyRing | None,
    *headers: tuple[bytes, bytes],
    service: str = "echo",
    known: Callable[[float], Awaitable[bool]] = known,
) -> str:
    """Name of the key, or the reason of the refusal; empty = open."""
    scope = {"headers": list(headers), "client": ("10.0.0.1", 1)}
    try:
        found = asyncio.run(Access(keys, known).require(scope, service, 0.0))
    except BadRequest as error:
        return f"{STATUS[error.reason]} {error.reason}"
    return "" if found is None else found.name


BEARER = (b"authorization", b"Bearer one")


def test_a_key_is_sent_in_either_header() -> None:
    keys = ring(grant("one", "echo"))
    assert ask(keys, BEARER) == "one"
    assert ask(keys, (b"authorization", b"bearer one")) == "one"
    assert ask(keys, (b"api-key", b"one")) == "one"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"Bearer two")],
        [(b"authorization", b"Basic one")],
        [(b"authorization", b"one")],
        [(b"api-key", b"")],
        [(b"api-key", b"\xff\x00")],
    ],
)
def test_missing_and_wrong_keys_are_401(headers: list[tuple[bytes, bytes]]) -> None:
    assert ask(ring(grant("one", "echo")), *headers) == "401 unauthorized"


def test_a_key_of_another_service_is_403_whether_or_not_that_exists() -> None:
    assert ask(ring(grant("one", "echo")), BEARER, service="other") == "403 forbidden"


def test_outdated_and_unknown_keys_are_503_and_504() -> None:
    old = ring(grant("one", "echo"), valid_s=1e-9)
    assert ask(old, BEARER) == "503 keys_outdated"
    assert ask(ApiKeyRing(1e9), BEARER, known=never) == "504 deadline"


def test_an_open_gateway_needs_no_key() -> None:
    assert ask(None) == ""


def test_wrong_keys_of_one_address_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)

    async def run() -> None:
        access = Access(ring(grant("one", "echo")), known)
        for number in range(FREE + 3):
            with pytest.raises(BadRequest):
                await access.identify({"headers": [], "client": ("10.0.0.1", number)}, 0.0)
        scope = {"headers": [BEARER], "client": ("10.0.0.1", 1)}
        assert await access.identify(scope, 0.0) is not None, "a right key never waits"

    asyncio.run(run())
    assert len(waited) == 3
