"""Token budgets of API keys at a gateway, on a virtual clock."""

import asyncio
import math
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline_protocol.ids import UnixTime
from wattline_protocol.wire.api_keys import (
    ApiKeyGrant,
    ApiKeyShares,
    BudgetDay,
    ReportApiKeyUse,
)
from wattline_runtime.gateway.access import use_report
from wattline_runtime.gateway.access.check import Access
from wattline_runtime.gateway.access.key_ring import ApiKey, ApiKeyRing
from wattline_runtime.gateway.errors import STATUS, BadRequest, as_openai_json

DIGEST = sha256(b"one").hexdigest()
DAY_S = 86_400.0
FIRST = UnixTime(10 * DAY_S)


def ring(tokens_per_day: int, **limits: float) -> ApiKeyRing:
    made = ApiKeyRing(1e9)
    grant = ApiKeyGrant("one", DIGEST, ("echo",), tokens_per_day=tokens_per_day)
    made.learn((grant,), 0.0)
    return made


def the_key(keys: ApiKeyRing) -> ApiKey:
    found = keys.find(b"one", 0.0)
    assert found is not None
    return found


def answer(used: int, share: float = 1.0, left_s: float = 3600.0) -> ApiKeyShares:
    day = BudgetDay(FIRST, DAY_S, left_s)
    return ApiKeyShares(share, day=day, used_tokens={DIGEST: used} if used else {})


async def known(_: float) -> bool:
    return True


def refusal(keys: ApiKeyRing) -> BadRequest | None:
    try:
        Access(keys, known).charge(the_key(keys), 1)
    except BadRequest as error:
        return error
    return None


def test_a_budget_is_used_up_until_the_day_is_over() -> None:
    keys = ring(1_000)
    keys.divide(answer(600), 0.0)
    assert refusal(keys) is None
    the_key(keys).tokens.spend(401)
    refused = refusal(keys)
    assert refused is not None
    assert (STATUS[refused.reason], refused.reason) == (429, "budget_used_up")
    assert "1k tokens a day (budget of API key one), 1,001 are used" in refused.message
    assert as_openai_json(refused)["error"]["code"] == "insufficient_quota"
    (use,) = keys.take_uses()
    assert (use.tokens, use.tokens_today, use.refused) == (401, 401, 1)
    keys.divide(answer(1_001, left_s=1.0), 3599.0)
    assert refusal(keys) is not None
    keys.begin_day_if_due(3600.0)
    assert refusal(keys) is None
    assert keys.day.start_unix_s == FIRST + DAY_S


class Away:
    """A scheduler that never answers."""

    def __init__(self) -> None:
        self.was_asked = asyncio.Event()

    async def report_use(self, report: ReportApiKeyUse) -> ApiKeyShares | None:
        del report
        self.was_asked.set()
        return None


def test_a_budget_is_whole_again_at_midnight_while_the_scheduler_is_away() -> None:
    keys = ring(1_000)
    keys.divide(answer(1_000), 0.0)
    assert refusal(keys) is not None
    keys.divide(answer(1_000, left_s=60.0), -1e9)  # long ago

    async def run() -> None:
        scheduler = Away()
        reporting = asyncio.create_task(use_report.report_uses(keys, scheduler))
        await scheduler.was_asked.wait()
        reporting.cancel()

    asyncio.run(run())
    assert refusal(keys) is None
    assert keys.day.start_unix_s == FIRST + DAY_S


def test_what_a_cut_off_gateway_counted_the_day_before_is_none_of_today() -> None:
    keys = ring(1_000)
    keys.divide(answer(0, share=0.5, left_s=10.0), 0.0)
    the_key(keys).tokens.spend(300)
    assert the_key(keys).tokens.left == 200
    keys.begin_day_if_due(10.0)
    the_key(keys).tokens.spend(20)
    (use,) = keys.take_uses()
    assert (use.tokens, use.tokens_today) == (320, 20)
    assert the_key(keys).tokens.left == 480


def test_the_rest_at_other_gateways_is_worth_a_try_in_a_second() -> None:
    keys = ring(1_000)
    keys.divide(answer(900, share=0.1), 0.0)
    the_key(keys).tokens.spend(10)
    refused = refusal(keys)
    assert refused is not None
    assert refused.retry_after_s == 1
    assert "this gateway grants 10% of the rest now" in refused.message


def test_retry_after_is_the_end_of_the_day_by_the_scheduler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wattline_runtime.gateway.access.check.time.monotonic", lambda: 100.5)
    keys = ring(10)
    keys.divide(answer(10, left_s=3600.0), 100.0)
    refused = refusal(keys)
    assert refused is not None
    assert refused.retry_after_s == 3600
    assert refused.message.endswith("the next day begins in 1h")


def test_a_stream_that_counted_too_much_returns_it() -> None:
    keys = ring(100)
    keys.divide(answer(0), 0.0)
    count = the_key(keys).tokens
    count.spend(12)
    assert [use.tokens for use in keys.take_uses()] == [12]
    count.spend(-2)  # it reports ten
    assert keys.take_uses() == ()
    count.spend(5)
    assert [use.tokens for use in keys.take_uses()] == [3]


def test_keys_without_a_budget_count_and_are_never_refused() -> None:
    keys = ring(0)
    keys.divide(answer(0), 0.0)
    the_key(keys).tokens.spend(10**9)
    assert refusal(keys) is None
    assert the_key(keys).tokens.left == math.inf
    assert [use.tokens for use in keys.take_uses()] == [10**9]


@given(
    st.integers(1, 10_000),
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 200)), max_size=80),
    st.integers(1, 5),
)
def test_gateways_exceed_a_budget_by_what_is_used_between_reports_at_most(
    budget: int, requests: list[tuple[int, int]], every: int
) -> None:
    """Three gateways, which report after each so many requests, with even parts."""
    gateways = [ring(budget) for _ in range(3)]
    used, newest = 0, 0
    for keys in gateways:
        keys.divide(answer(0, share=1 / 3), 0.0)
    for number, (at, tokens) in enumerate(requests):
        if refusal(gateways[at]) is None:
            the_key(gateways[at]).tokens.spend(tokens)
            newest += tokens
        if number % every == 0:
            used += sum(use.tokens_today for keys in gateways for use in keys.take_uses())
            newest = 0
            for keys in gateways:
                keys.divide(answer(used, share=1 / 3), 1.0)
        assert used + newest < budget + 3 * 200, "each finishes one request beyond its part"
    if used >= budget:
        assert all(refusal(keys) is not None for keys in gateways)
