"""Blocks of API keys for abuse: on record, at all gateways, lifted by users, and bounded."""

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.sites import site
from wattline_protocol.ids import UnixTime, UserName
from wattline_protocol.site.model import Abuse, Role
from wattline_protocol.wire.api_keys import (
    AbuseEvidence,
    AddApiKey,
    ApiKeyGrant,
    ApiKeyView,
    ReportAbuse,
    Restraint,
    RevokeApiKey,
    UnblockApiKey,
)
from wattline_protocol.wire.client_messages import Answer, Denied, Done
from wattline_scheduler.core.model.events import MembersSeen
from wattline_scheduler.core.requests import abuse
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.records import MemberRecord
from wattline_scheduler.views.api_keys_view import api_key_views

BLOCK_S = 60.0
EVIDENCE = AbuseEvidence(1_240, 0, 1_210, 900, 0, "203.0.113.7")
MEMBERS = (
    MemberRecord("east", "gateway", "e" * 40),
    MemberRecord("west", "gateway", "w" * 40),
    MemberRecord("ada", "submitter", "a" * 40),
)
NEVER = UnixTime(0.0)


def started(*, enabled: bool = True) -> Harness:
    limits = Abuse(enabled=enabled, block_s=BLOCK_S)
    h = joined(msgspec.structs.replace(site().rack("a", 1).build(), abuse=limits))
    h.handle(MembersSeen(MEMBERS))
    for number in range(3):
        h.do(AddApiKey(f"k{number}", digest(number), ("echo",)))
    return h


@pytest.fixture
def h() -> Harness:
    return started()


def digest(number: int) -> str:
    return f"{number:064x}"


def restraint(
    subject: str | int, *, is_blocked: bool = True, age_s: float = 0.0, left_s: float = 1e6
) -> Restraint:
    is_key = isinstance(subject, int)
    name = digest(subject) if isinstance(subject, int) else subject
    return Restraint(name, is_key, is_blocked, age_s, left_s, EVIDENCE)


def report(h: Harness, *restraints: Restraint, gateway: str = "east") -> None:
    answer = h.ask(ReportAbuse(restraints), user=gateway, role="gateway")
    assert answer == Done("")


def granted(h: Harness, number: int = 0) -> ApiKeyGrant:
    """As other gateways get it."""
    grants = h.cluster.state.api_keys.grants(h.cluster.state.work.services)
    return next(one for one in grants if one.digest == digest(number))


def view(h: Harness, number: int = 0) -> ApiKeyView:
    views = api_key_views(h.cluster.state, Asker(UserName("ops"), "operator"), h.now)
    return next(one for one in views if one.name == f"k{number}")


def unblock(h: Harness, *, user: str = "ops", role: Role = "operator") -> Answer:
    return h.ask(UnblockApiKey("k0"), user=user, role=role)


def test_a_block_reaches_all_gateways_and_ends_at_its_time(h: Harness) -> None:
    report(h, restraint(0))
    assert granted(h).blocked_until_unix_s == h.now.unix_s + BLOCK_S
    assert granted(h, 1).blocked_until_unix_s == NEVER
    shown = view(h)
    assert shown.state == "blocked"
    assert shown.abuse == (
        "1,240 requests within a minute: 1,210 failed, 900 repeated after a failure; "
        "the newest of 203.0.113.7 (gateway east)"
    )
    (begun,) = h.events("api_key_blocked")
    assert "API key k0 of ops is blocked until" in begun.text
    assert "1,210 failed" in begun.text
    report(h, restraint(0, age_s=1.0))
    h.restart_scheduler()
    assert granted(h).blocked_until_unix_s > h.now.unix_s
    h.run(BLOCK_S + 1)
    assert granted(h).blocked_until_unix_s == NEVER
    assert view(h).state == "ok"
    assert len(h.events("api_key_blocked")) == 1
    assert len(h.events("api_key_blocked_over")) == 1
    report(h, restraint(0, age_s=BLOCK_S, left_s=1.0))
    assert view(h).state == "ok", "it is about to end there, too"


def test_a_slowed_key_is_shown_while_gateways_report_it(h: Harness) -> None:
    report(h, restraint(0, is_blocked=False, left_s=10.0))
    assert (view(h).state, granted(h).blocked_until_unix_s) == ("slowed", NEVER)
    h.run(11)
    assert view(h).state == "ok"


def test_a_user_unblocks_its_key_on_record(h: Harness) -> None:
    report(h, restraint(0))
    assert isinstance(unblock(h, user="bob", role="submitter"), Denied)
    assert isinstance(h.ask(UnblockApiKey("none")), Denied)
    h.run(5)
    assert unblock(h) == Done("API key k0 is unblocked")
    grant = granted(h)
    assert (grant.blocked_until_unix_s, grant.unblocked_unix_s) == (NEVER, h.now.unix_s)
    assert [act.kind for act in h.acts()][-1] == "api_key_unblocked"
    assert len(h.events("api_key_blocked_over")) == 1
    h.run(1)
    report(h, restraint(0, age_s=3.0))
    assert view(h).state == "ok", "judged before"
    report(h, restraint(0, age_s=0.5))
    assert view(h).state == "blocked", "it went on in the same way"


def test_a_revoked_key_is_no_problem_any_more(h: Harness) -> None:
    report(h, restraint(0))
    h.do(RevokeApiKey("k0"))
    report(h, restraint(0))
    assert len(h.events("api_key_blocked_over")) == 1
    h.restart_scheduler()
    h.run(1)
    assert not h.cluster.state.problems.open


def test_one_gateway_blocks_a_bounded_number_of_keys(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abuse, "MAX_OF_GATEWAY", 2)
    report(h, *(restraint(number) for number in range(3)))
    assert [view(h, number).state for number in range(3)] == ["blocked", "blocked", "ok"]
    report(h, restraint(2), gateway="west")
    assert view(h, 2).state == "blocked"


@pytest.mark.parametrize("is_enrolled_again", [False, True])
def test_blocks_of_a_gateway_end_with_its_key(h: Harness, is_enrolled_again: bool) -> None:
    report(h, restraint(0))
    report(h, restraint(1), gateway="west")
    again = (MemberRecord("east", "gateway", "x" * 40),) if is_enrolled_again else ()
    h.handle(MembersSeen((*MEMBERS[1:], *again)))
    assert [view(h, number).state for number in range(2)] == ["ok", "blocked"]
    assert granted(h).unblocked_unix_s == h.now.unix_s


def test_addresses_are_problems_of_their_gateway_and_bounded(h: Harness) -> None:
    report(h, *(restraint(f"192.0.2.{number}") for number in range(20)), restraint("no address"))
    assert len(h.events("address_blocked")) == abuse.MAX_ADDRESSES
    assert "address 192.0.2.0 at gateway east" in h.events("address_blocked")[0].text
    report(h, restraint("192.0.2.0"))
    assert len(h.events("address_blocked")) == abuse.MAX_ADDRESSES
    h.run(31)
    assert len(h.events("address_blocked_over")) == abuse.MAX_ADDRESSES


def test_a_site_without_limits_takes_no_blocks() -> None:
    h = started(enabled=False)
    report(h, restraint(0))
    assert view(h).state == "ok"
