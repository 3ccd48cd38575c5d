"""API keys at the gateway: what opens what, and how wrong ones are answered."""

import asyncio
import hashlib
import math
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from wattline_protocol.ids import UnixTime
from wattline_protocol.wire.api_keys import ApiKeyGrant, ApiKeyShares, ApiKeyUse, ReportApiKeyUse
from wattline_runtime.gateway.access import use_report
from wattline_runtime.gateway.access.check import Access
from wattline_runtime.gateway.access.failed_keys import FREE, MAX_ADDRESSES, MAX_DELAY_S, FailedKeys
from wattline_runtime.gateway.access.key_ring import ApiKey, ApiKeyRing
from wattline_runtime.gateway.errors import STATUS, BadRequest


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def grant(
    secret: str,
    *services: str,
    expires_unix_s: float | None = None,
    rate_per_s: float = 0.0,
    burst: int = 0,
) -> ApiKeyGrant:
    expires = None if expires_unix_s is None else UnixTime(expires_unix_s)
    return ApiKeyGrant(secret, digest(secret), services, rate_per_s, burst, expires)


def ring(*grants: ApiKeyGrant, valid_s: float = 1e9) -> ApiKeyRing:
    made = ApiKeyRing(valid_s)
    made.learn(grants, 100.0)
    return made


def test_a_key_is_found_by_its_secret_until_it_expires_or_is_granted_no_more() -> None:
    keys = ring(grant("one", "echo"), grant("two", expires_unix_s=50.0))
    found = keys.find(b"one", 1e12)
    assert found is not None
    assert (found.grant.name, found.services) == ("one", frozenset({"echo"}))
    assert keys.find(b"two", 49.0) is not None
    assert keys.find(b"two", 50.0) is None
    assert keys.find(b"three", 0.0) is None
    assert keys.find(b"", 0.0) is None
    keys.learn((), 200.0)
    assert keys.find(b"one", 0.0) is None


def limited(keys: ApiKeyRing) -> ApiKey:
    found = keys.find(b"one", 0.0)
    assert found is not None
    return found


def test_a_rate_grants_its_burst_and_then_what_time_brings() -> None:
    key = limited(ring(grant("one", "echo", rate_per_s=2.0, burst=4)))
    assert [key.take(1, 100.0) for _ in range(4)] == [0.0] * 4
    assert key.take(1, 100.0) == 0.5
    assert key.take(1, 100.5) == 0.0
    assert key.take(4, 100.5) == 2.0
    assert key.take(5, 1e9) == math.inf
    assert key.refused == 3
    assert key.inputs == 15


def test_a_gateway_grants_its_part_and_one_input_at_least() -> None:
    keys = ring(grant("one", "echo", rate_per_s=10.0, burst=10))
    keys.divide(ApiKeyShares(0.5), 100.0)
    assert [limited(keys).take(1, 100.0) for _ in range(6)] == [0.0] * 5 + [0.1]
    keys.divide(ApiKeyShares(0.5, {digest("one"): 0.01}), 200.0)
    assert limited(keys).take(1, 200.0) == 0.0
    assert limited(keys).take(1, 200.0) == pytest.approx(0.1, abs=0.01), (
        "by the rate, not by the part"
    )
    keys.divide(ApiKeyShares(1.0), 200.0)
    assert limited(keys).take(1, 200.2) == 0.0


def test_no_part_of_a_rate_is_not_no_limit() -> None:
    keys = ring(grant("one", "echo", rate_per_s=10.0, burst=10))
    keys.divide(ApiKeyShares(0.0), 100.0)
    assert limited(keys).take(1, 100.0) == 0.0
    assert limited(keys).take(1, 200.0) == pytest.approx(0.1, abs=0.01)
    assert limited(keys).take_in_turn(1, 200.0, 0.0) > 1000, "rows of batches wait for the part"


def test_more_at_once_than_the_part_of_a_gateway_may_be_tried_again() -> None:
    """Its part grows with use. What exceeds the whole burst is admitted by no gateway."""
    keys = ring(grant("one", "echo", rate_per_s=10.0, burst=10))
    keys.divide(ApiKeyShares(0.5), 100.0)
    key, access = limited(keys), Access(keys, known)
    assert key.take(10, 100.0) == pytest.approx(0.5)
    with pytest.raises(BadRequest, match="this gateway grants 50% of it now") as refused:
        access.charge(key, 10)
    assert refused.value.retry_after_s == 1
    assert key.take(11, 100.0) == math.inf


def test_new_grants_leave_what_was_used_as_it_is() -> None:
    first = grant("one", "echo", rate_per_s=1.0, burst=2)
    keys = ring(first)
    limited(keys).used(5.0)
    limited(keys).take(2, 100.0)
    keys.learn((msgspec.structs.replace(first, services=("echo", "more")),), 100.0)
    key = limited(keys)
    assert key.services == {"echo", "more"}
    assert key.take(1, 100.0) == 1.0
    assert keys.take_uses() == (ApiKeyUse(digest("one"), 1, 1, 3, UnixTime(5.0)),)
    assert keys.take_uses() == ()
    keys.learn((grant("one", "echo"),), 100.0)
    assert limited(keys).take(1000, 100.0) == 0.0, "no rate any more"


def test_the_energy_of_answers_is_reported_once_also_without_a_new_request() -> None:
    keys = ring(grant("one", "echo"))
    limited(keys).draw(None)
    assert keys.take_uses() == ()
    limited(keys).draw(1_500)
    limited(keys).draw(500)
    assert [one.energy_uj for one in keys.take_uses()] == [2_000]
    assert keys.take_uses() == ()


def test_a_limit_is_named_with_the_time_until_more_is_granted() -> None:
    keys = ring(grant("one", "echo", rate_per_s=0.5, burst=2))
    key, access = limited(keys), Access(keys, known)
    access.charge(key, 2)
    with pytest.raises(BadRequest) as refused:
        access.charge(key, 1)
    assert (STATUS[refused.value.reason], refused.value.retry_after_s) == (429, 2)
    assert refused.value.message == "the limit is 30/m, burst 2 (rate of API key one)"
    with pytest.raises(BadRequest, match="3 inputs at once exceed 30/m, burst 2") as refused:
        access.charge(key, 3)
    assert refused.value.retry_after_s == 0


class Source:
    """Answers every second report; notes all."""

    def __init__(self) -> None:
        self.reports: list[ReportApiKeyUse] = []
        self.is_enough = asyncio.Event()

    async def report_use(self, report: ReportApiKeyUse) -> ApiKeyShares | None:
        self.reports.append(report)
        if len(self.reports) == 4:
            self.is_enough.set()
        return ApiKeyShares(0.25) if len(self.reports) % 2 == 0 else None


def test_a_report_is_repeated_until_it_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(use_report, "PERIOD_S", 0.0)
    keys, source = ring(grant("one", "echo", rate_per_s=1.0, burst=1)), Source()
    limited(keys).used(1.0)

    async def run() -> None:
        reporting = asyncio.create_task(use_report.report_uses(keys, source))
        await source.is_enough.wait()
        reporting.cancel()

    asyncio.run(run())
    first, again, second, *_ = source.reports
    assert first is again
    assert [one.requests for one in first.uses] == [1]
    assert second.report != first.report
    assert second.uses == ()
    assert limited(keys).share == 0.25


def test_keys_without_news_are_outdated_after_their_time() -> None:
    keys = ring(valid_s=60.0)
    assert not keys.is_outdated(160.0)
    assert keys.is_outdated(160.1)
    keys.learn((), 160.0)
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
    return "" if found is None else found.grant.name


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


def test_a_refusal_names_what_the_key_is_for() -> None:
    keys = Access(ring(grant("one", "b", "a")), known)
    with pytest.raises(BadRequest, match=r"not for service 'aa'; it is for a, b$"):
        asyncio.run(keys.require({"headers": [BEARER], "client": ("10.0.0.1", 1)}, "aa", 0.0))


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


@pytest.mark.parametrize(
    "header",
    [
        (b"api-key", b"one "),
        (b"authorization", b"Bearer one"),
        (b"authorization", b"bearer  one"),
    ],
)
def test_spaces_around_a_key_are_no_part_of_it(header: tuple[bytes, bytes]) -> None:
    async def run() -> ApiKey | None:
        access = Access(ring(grant("one", "echo")), _never)
        return await access.identify({"headers": [header], "client": None}, math.inf)

    found = asyncio.run(run())
    assert found is not None
    assert found.grant.name == "one"


async def _never(_: float) -> bool:
    return False
