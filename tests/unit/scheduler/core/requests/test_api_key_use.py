"""Use of API keys over several gateways: counts, and each one's part of a rate."""

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.sites import site
from wattline_protocol.ids import UnixTime, UserName
from wattline_protocol.wire.api_keys import (
    AddApiKey,
    ApiKeyShares,
    ApiKeyUse,
    ReportApiKeyUse,
    RevokeApiKey,
)
from wattline_protocol.wire.bounds import MAX_COUNT, MAX_SERIAL
from wattline_scheduler.api_key_record import ApiKeyRecord
from wattline_scheduler.core.requests import api_key_use
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.views.api_keys_view import api_key_views

DIGEST, OTHER = "1" * 64, "2" * 64


@pytest.fixture
def h() -> Harness:
    h = joined(site().rack("a", 1).build())
    h.ask(AddApiKey("shop", DIGEST, ("echo",), rate_per_s=100.0, burst=100))
    h.ask(AddApiKey("free", OTHER, ("echo",)))
    return h


def report(
    h: Harness, gateway: str, inputs: int = 0, *, name: str = "", digest: str = DIGEST
) -> ApiKeyShares:
    uses = (ApiKeyUse(digest, inputs, inputs // 2, inputs, UnixTime(h.now.unix_s)),)
    request = ReportApiKeyUse(name or f"{len(h.effects)}", uses if inputs else ())
    answer = h.ask(request, user=gateway, role="gateway")
    assert isinstance(answer, ApiKeyShares)
    return answer


def parts_of(answer: ApiKeyShares) -> ApiKeyShares:
    """Without what is about budgets."""
    return ApiKeyShares(answer.share, answer.shares)


def part(answer: ApiKeyShares) -> float:
    return answer.shares.get(DIGEST, answer.share)


def key(h: Harness, name: str = "shop") -> ApiKeyRecord:
    return h.cluster.state.api_keys.by_name[name]


def test_a_gateway_that_is_alone_grants_the_whole(h: Harness) -> None:
    assert parts_of(report(h, "east", 50)) == ApiKeyShares(1.0)


def test_parts_follow_use_and_add_up_to_the_whole(h: Harness) -> None:
    assert part(report(h, "east")) == 1.0
    assert part(report(h, "west")) == 0.05, "until the other has given up its part"
    assert part(report(h, "east")) == part(report(h, "west")) == 0.5
    for _ in range(5):
        h.run(1)
        parts = part(report(h, "east", 90)), part(report(h, "west", 30))
    assert parts[0] == pytest.approx(0.725, abs=0.01)
    assert parts[1] == pytest.approx(0.275, abs=0.01)
    h.run(1)
    for _ in range(5):
        report(h, "east"), report(h, "west", 60)
        h.run(1)
    east, west = part(report(h, "east")), part(report(h, "west", 60))
    assert east + west == pytest.approx(1.0, abs=0.02)
    assert west > 0.9
    assert east >= 0.05, "its first requests are granted"
    for _ in range(30):
        h.run(1)
        assert part(report(h, "east")) + part(report(h, "west")) <= 1.02
    assert part(report(h, "east")) == 0.5, "no longer in use"


def test_a_silent_gateway_leaves_its_part_to_the_others(h: Harness) -> None:
    report(h, "east", 50)
    report(h, "west", 50)
    for _ in range(6):
        h.run(1)
        east = report(h, "east", 50)
    assert part(east) == 1.0


def test_keys_that_there_are_not_take_no_memory(h: Harness) -> None:
    for number in range(5):
        report(h, "east", 50, digest=f"{number:064x}")
    report(h, "east", 50)
    assert h.cluster.state.api_keys.gateways["east"].demand.per_s.keys() == {DIGEST}


def test_keys_without_a_rate_are_not_divided(h: Harness) -> None:
    report(h, "west")
    report(h, "east", 50, digest=OTHER)
    report(h, "west")
    assert parts_of(report(h, "east", 50, digest=OTHER)) == ApiKeyShares(0.5)


def test_use_is_counted_once_and_survives_a_restart(h: Harness) -> None:
    report(h, "east", 10, name="r1")
    report(h, "east", 10, name="r1")
    report(h, "west", 4, name="r1")
    assert (key(h).requests, key(h).refused) == (14, 7)
    assert key(h).used_unix_s == h.now.unix_s
    h.run(11)
    h.restart_scheduler()
    assert (key(h).requests, key(h).refused) == (14, 7)
    assert key(h, "free").used_unix_s is None


def test_use_of_a_revoked_key_is_dropped(h: Harness) -> None:
    report(h, "east", 10)
    h.ask(RevokeApiKey("shop"))
    assert parts_of(report(h, "east", 10)) == ApiKeyShares(1.0)
    h.run(11)
    h.restart_scheduler()
    assert "shop" not in h.cluster.state.api_keys.by_name


def test_reports_are_bounded(h: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_key_use, "MAX_GATEWAYS", 2)
    report(h, "east")
    report(h, "west")
    assert report(h, "more", 10) == ApiKeyShares(0.0)
    assert key(h).requests == 0
    book = h.cluster.state.api_keys
    book.count(msgspec.structs.replace(key(h), requests=MAX_SERIAL - 5))
    report(h, "east", MAX_COUNT)
    assert key(h).requests == MAX_SERIAL


def spend(
    h: Harness, gateway: str, tokens: int, *, day_unix_s: float = 0.0, name: str = ""
) -> ApiKeyShares:
    use = ApiKeyUse(BUDGETED, 1, 0, 1, UnixTime(h.now.unix_s), tokens, tokens)
    request = ReportApiKeyUse(name or f"{len(h.effects)}", (use,), UnixTime(day_unix_s))
    answer = h.ask(request, user=gateway, role="gateway")
    assert isinstance(answer, ApiKeyShares)
    return answer


def test_energy_of_all_gateways_is_added_up_and_a_repeat_counts_once(h: Harness) -> None:
    def joules() -> list[float | None]:
        views = api_key_views(h.cluster.state, Asker(UserName("ops"), "operator"), h.now)
        return [one.joules for one in views]

    assert joules() == [None, None], "not measured"
    for gateway, name in (("east", "r1"), ("east", "r1"), ("west", "r2")):
        use = ApiKeyUse(DIGEST, 1, 0, 1, UnixTime(h.now.unix_s), energy_uj=1_500_000)
        h.ask(ReportApiKeyUse(name, (use,)), user=gateway, role="gateway")
    assert joules() == [None, 3.0]


BUDGETED = "3" * 64


@pytest.fixture
def budget(h: Harness) -> Harness:
    h.ask(AddApiKey("chat", BUDGETED, ("echo",), tokens_per_day=1_000))
    return h


def test_tokens_of_all_gateways_are_added_up_and_reported_to_each(budget: Harness) -> None:
    h = budget
    assert report(h, "east").used_tokens == {}
    assert spend(h, "east", 300, name="r1").used_tokens == {BUDGETED: 300}
    assert spend(h, "east", 300, name="r1").used_tokens == {BUDGETED: 300}, "a repeat"
    answer = spend(h, "west", 100)
    assert answer.used_tokens == {BUDGETED: 400}
    assert BUDGETED in answer.shares
    assert (key(h, "chat").tokens, key(h, "chat").day_tokens) == (400, 400)
    h.ask(RevokeApiKey("chat"))
    assert report(h, "east").used_tokens == {}


def test_a_budget_begins_again_with_the_day_of_the_site(budget: Harness) -> None:
    h = budget
    day = spend(h, "east", 900).day
    assert day is not None
    assert day.start_unix_s + day.length_s - day.left_s == h.now.unix_s
    h.mono_s += day.left_s + 1
    late = spend(h, "east", 50, day_unix_s=day.start_unix_s)
    assert late.day is not None
    assert late.day.start_unix_s == day.start_unix_s + day.length_s
    assert late.used_tokens.get(BUDGETED, 0) == 0, "counted before midnight"
    assert key(h, "chat").tokens == 950
    now = spend(h, "east", 7, day_unix_s=late.day.start_unix_s)
    assert now.used_tokens == {BUDGETED: 7}


def test_a_crash_does_not_return_a_budget_that_is_used_up(budget: Harness) -> None:
    h = budget
    spend(h, "east", 400)
    h.run(11)
    spend(h, "east", 100)
    h.restart_scheduler()
    assert report(h, "east").used_tokens == {BUDGETED: 400}, "at most ten seconds are lost"
    spend(h, "east", 600)
    h.restart_scheduler()
    assert report(h, "east").used_tokens == {BUDGETED: 1_000}
