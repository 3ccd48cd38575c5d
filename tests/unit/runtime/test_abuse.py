"""Abuse of a gateway, on a virtual clock: whose conduct is restrained, and whose never."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import pytest
from structlog.testing import capture_logs

from wattline_protocol.http.limits import networks
from wattline_protocol.ids import UnixTime
from wattline_protocol.site.model import Abuse
from wattline_protocol.wire.api_keys import ApiKeyGrant
from wattline_runtime.gateway.access import abuse, conduct
from wattline_runtime.gateway.access.abuse import MAX_ADDRESSES, AbuseWatch, Addresses
from wattline_runtime.gateway.access.check import Access
from wattline_runtime.gateway.access.conduct import (
    MAX_SERVICES,
    STEP_S,
    STEPS_OF_WINDOW,
    Conduct,
    judge,
)
from wattline_runtime.gateway.access.key_ring import ApiKey, ApiKeyRing
from wattline_runtime.gateway.errors import STATUS, BadRequest

LIMITS = Abuse(requests=100)
START_S = 1.7e9


@dataclass
class Clients:
    """Some clients of one gateway; time passes in steps."""

    conducts: dict[str, Conduct] = field(default_factory=dict)
    now_s: float = START_S
    steps: int = 0

    def of(self, name: str) -> Conduct:
        return self.conducts.setdefault(name, Conduct())

    def send(
        self, name: str, count: int, reason: str = "", *, service: str = "a", body: bytes = b""
    ) -> None:
        """Requests that end; every body differs unless it is given."""
        one = self.of(name)
        for number in range(count):
            if reason:
                one.failed(service, reason, body or f"{self.now_s} {number}".encode(), "10.0.0.1")
            else:
                one.answered(service)

    def step(self) -> None:
        self.now_s += STEP_S
        active = [one for one in self.conducts.values() if one.step]
        judge(active, LIMITS, self.now_s, self.steps // STEPS_OF_WINDOW)
        self.steps += 1

    def state(self, name: str) -> str:
        one = self.of(name)
        if one.blocked_until_s > self.now_s:
            return "blocked"
        return "slowed" if one.restrained_until_s > self.now_s else "ok"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [(50, "malformed"), (20, "body_too_large"), (90, "budget_used_up")],
)
def test_a_share_beyond_its_limit_slows_and_then_blocks(bad: int, reason: str) -> None:
    clients = Clients()
    clients.send("one", 100 - bad + 1)
    clients.send("one", bad - 1, reason)
    clients.step()
    assert clients.state("one") == "ok", "just within the limit"
    clients.send("one", 98, reason)
    clients.send("one", 2)
    clients.step()
    assert clients.state("one") == "slowed"
    clients.send("one", 20, reason)
    clients.step()
    assert clients.state("one") == "blocked", "few are enough now"
    for _ in range(int(LIMITS.block_s / STEP_S)):
        clients.step()
    assert clients.state("one") == "ok"


def test_few_requests_are_never_judged() -> None:
    clients = Clients()
    for _ in range(2 * STEPS_OF_WINDOW):
        clients.send("one", 8, "malformed")  # 96 a minute
        clients.step()
    assert clients.state("one") == "ok"


def test_the_same_failure_again_and_again_counts_as_repeated() -> None:
    clients = Clients()
    clients.send("one", 69)
    clients.send("one", 31, "malformed", body=b"{")
    clients.step()
    found = clients.of("one").evidence
    assert found is not None
    assert (found.failed, found.repeated, found.address) == (31, 30, "10.0.0.1")
    assert found.text == ("100 requests within a minute: 31 failed, 30 repeated after a failure")
    clients.send("two", 70)
    clients.send("two", 31, "malformed")
    clients.step()
    assert clients.state("two") == "ok", "each a mistake of its own"


def test_one_that_behaves_again_is_forgiven() -> None:
    clients = Clients()
    clients.send("one", 100, "malformed")
    clients.step()
    assert clients.state("one") == "slowed"
    for _ in range(int((conduct.SLOWED_S + conduct.REMEMBERED_S) / STEP_S) + 1):
        clients.send("one", 100)
        clients.step()
    clients.send("one", 2_000, "malformed")
    clients.step()
    assert clients.state("one") == "slowed", "not blocked at once"


# --- what is not the client's fault


@pytest.mark.parametrize(
    "reason",
    [
        "queue_full",
        "too_slow",
        "deadline",
        "no_worker",
        "worker_lost",
        "model_error",
        "stopping",
        "unknown_service",
        "client_gone",
        "budget_shared_out",
        "body_too_slow",
    ],
)
def test_what_a_service_or_the_gateway_causes_counts_never(reason: str) -> None:
    clients = Clients()
    for _ in range(STEPS_OF_WINDOW):
        clients.send("one", 1_000, reason, body=b"the same")
        clients.step()
    assert clients.state("one") == "ok"


def test_what_a_model_refuses_counts_where_it_refuses_others_less() -> None:
    clients = Clients()
    for _ in range(conduct.LEAST_STEPS):
        clients.send("bad", 100, "bad_input")
        clients.send("good", 20)
        clients.step()
    assert (clients.state("bad"), clients.state("good")) == ("slowed", "ok")
    assert clients.of("bad").evidence is not None


@pytest.mark.parametrize("reason", ["bad_input", "poison", "no_method"])
def test_a_service_that_refuses_all_harms_none(reason: str) -> None:
    clients = Clients()
    for _ in range(STEPS_OF_WINDOW):
        for name in ("one", "two", "three"):
            clients.send(name, 100, reason, body=b"the same")
        clients.step()
    assert {clients.state(name) for name in ("one", "two", "three")} == {"ok"}


def test_the_only_client_of_a_service_is_not_judged_by_its_model() -> None:
    clients = Clients()
    for _ in range(STEPS_OF_WINDOW):
        clients.send("one", 100, "bad_input")
        clients.send("other", 100, service="b")
        clients.step()
    assert clients.state("one") == "ok"


def test_two_that_fail_together_do_not_look_like_a_broken_service() -> None:
    """Each client counts as one, however much it sends."""
    clients = Clients()
    for _ in range(conduct.LEAST_STEPS):
        clients.send("bad", 1_000, "bad_input")
        clients.send("worse", 1_000, "bad_input")
        clients.send("good", 20)
        clients.step()
    assert [clients.state(name) for name in ("bad", "worse", "good")] == ["slowed", "slowed", "ok"]


def test_a_client_that_begins_as_its_service_breaks_is_not_judged_by_that() -> None:
    clients = Clients()
    clients.send("old", 100)
    clients.send("old", 20, "bad_input")  # within the last second of the step
    clients.send("new", 900, "bad_input")
    clients.step()
    for _ in range(STEPS_OF_WINDOW):
        clients.send("old", 100, "bad_input")
        clients.send("new", 500, "bad_input")
        clients.step()
    assert (clients.state("old"), clients.state("new")) == ("ok", "ok")


def test_a_rate_that_is_granted_in_part_only_harms_no_client_within_the_whole() -> None:
    """As at a gateway that is cut off with a twentieth of the rate."""
    clients = Clients()
    honest, flood = clients.of("honest"), clients.of("flood")
    for one in (honest, flood):
        one.whole_rate.limit(100.0, 100.0)
    for _ in range(STEPS_OF_WINDOW):
        clients.send("honest", 25)
        clients.send("honest", 475, "rate_limited")
        honest.inputs += 500
        clients.send("flood", 25)
        clients.send("flood", 9_975, "rate_limited")
        flood.inputs += 10_000
        clients.step()
    assert (clients.state("honest"), clients.state("flood")) == ("ok", "blocked")


# --- the watch of a gateway


def ring(*names: str) -> ApiKeyRing:
    made = ApiKeyRing(1e9)
    made.learn(tuple(grant(name) for name in names), 0.0)
    return made


def grant(name: str, blocked: float = 0.0, unblocked: float = 0.0) -> ApiKeyGrant:
    digest = sha256(name.encode()).hexdigest()
    return ApiKeyGrant(
        name,
        digest,
        ("a",),
        blocked_until_unix_s=UnixTime(blocked),
        unblocked_unix_s=UnixTime(unblocked),
    )


def key(keys: ApiKeyRing, name: str) -> ApiKey:
    found = keys.find(name.encode(), 0.0)
    assert found is not None
    return found


async def known(_: float) -> bool:
    return True


def scope(name: str = "", address: str = "10.0.0.1") -> dict[str, object]:
    headers = [(b"api-key", name.encode())] if name else []
    return {"headers": headers, "client": (address, 1)}


def test_a_blocked_key_is_refused_with_its_evidence_and_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wattline_runtime.gateway.access.check.time.time", lambda: START_S)
    keys = ring("bad", "good")
    watch = AbuseWatch(LIMITS, keys, ())
    access = Access(keys, known, watch)

    async def spoil() -> None:
        for _ in range(100):
            asked = scope("bad")
            await access.identify(asked, 0.0)
            Access.ended(asked, "a", "malformed", b"{")
        asked = scope("good")
        await access.identify(asked, 0.0)
        Access.ended(asked, "a", "", b"")

    monkeypatch.setattr(abuse, "DELAY_S", 0.0)
    asyncio.run(spoil())
    watch.step(START_S)
    assert key(keys, "bad").conduct.restrained_until_s == START_S + conduct.SLOWED_S
    asyncio.run(spoil())
    watch.step(START_S)
    with pytest.raises(BadRequest) as refused:
        asyncio.run(access.identify(scope("bad"), 0.0))
    assert (STATUS[refused.value.reason], refused.value.retry_after_s) == (429, 600)
    text = "this API key is blocked for 10m: 100 requests within a minute: 100 failed"
    assert refused.value.message.startswith(text)
    asyncio.run(access.identify(scope("good"), 0.0))
    report = watch.report(START_S + 1)
    assert report is not None
    (one,) = report.restraints
    assert (one.is_key, one.is_blocked, one.age_s, one.left_s) == (True, True, 1.0, 599.0)
    assert watch.report(START_S + 601) is None


def test_blocks_and_their_ends_come_from_the_scheduler_too() -> None:
    keys = ring("one")
    keys.learn((grant("one", blocked=START_S + 60),), 0.0)
    assert key(keys, "one").conduct.blocked_until_s == START_S + 60
    watch = AbuseWatch(LIMITS, keys, ())
    assert watch.report(START_S) is None, "not its own judgement"
    keys.learn((grant("one", unblocked=START_S),), 0.0)
    assert key(keys, "one").conduct.blocked_until_s == 0.0


def test_few_requests_of_slowed_clients_wait_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abuse, "MAX_DELAYED", 2)
    monkeypatch.setattr(abuse, "DELAY_S", 0.01)
    watch, slowed = AbuseWatch(LIMITS, ring(), ()), Conduct(restrained_until_s=START_S + 60)

    async def run() -> Sequence[object]:
        asks = [watch.restrain(slowed, START_S) for _ in range(3)]
        return await asyncio.gather(*asks, return_exceptions=True)

    results = asyncio.run(run())
    assert [getattr(one, "reason", "") for one in results] == ["", "", "slowed"]


def test_an_open_gateway_judges_addresses_but_no_trusted_proxy() -> None:
    watch = AbuseWatch(LIMITS, None, networks(["10.0.0.0/8"]))
    access = Access(None, known, watch)

    async def spoil(address: str) -> None:
        for _ in range(100):
            asked = scope(address=address)
            await access.identify(asked, 0.0)
            Access.ended(asked, "a", "malformed", b"")

    for address in ("192.0.2.1", "10.0.0.1", "2001:db8::1"):
        asyncio.run(spoil(address))
    watch.step(START_S)
    report = watch.report(START_S)
    assert report is not None
    assert [one.subject for one in report.restraints] == ["192.0.2.1", "2001:db8::/64"]
    assert not any(one.is_key for one in report.restraints)


def test_names_that_no_service_has_take_no_memory() -> None:
    one = Conduct()
    for number in range(100):
        one.failed(f"{number}" * 1_000, "unknown_service", b"", "10.0.0.1")
        one.failed(f"{number}", "unknown_service", b"", "10.0.0.1")
    assert max(map(len, one.step)) <= 64
    assert len(one.step) <= MAX_SERVICES + 1
    assert sum(at.others for at in one.step.values()) == 200


def test_memory_of_addresses_is_bounded() -> None:
    addresses = Addresses(())
    first = addresses.conduct("2001:db8::1")
    assert addresses.conduct("2001:db8::2") is first, "one network is one client"
    for number in range(2 * MAX_ADDRESSES):
        addresses.conduct(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(list(addresses.items())) == MAX_ADDRESSES
    assert len(addresses._newest) <= MAX_ADDRESSES + 1
    one = Conduct()
    for number in range(10_000):
        one.failed(f"s{number}", "malformed", str(number).encode(), "10.0.0.1")
    assert len(one.step) <= conduct.MAX_SERVICES + 1
    assert len(one._seen) == conduct.MAX_SEEN


def test_a_log_names_those_that_are_restrained_only() -> None:
    keys = ring(*(f"bad{number}" for number in range(20)), "good")
    watch = AbuseWatch(LIMITS, keys, ())
    for one in keys.every_key():
        for number in range(100):
            if one.grant.name != "good":
                one.conduct.failed("a", "malformed", str(number).encode(), "10.0.0.1")
            else:
                one.conduct.answered("a")
    with capture_logs() as lines:
        watch.step(START_S)
    slowed = [line for line in lines if line["event"] == "client_slowed"]
    assert len(slowed) == abuse.MAX_NOTED
    assert {line["client"][:3] for line in slowed} == {"bad"}
    assert [line["total"] for line in lines if "total" in line] == [20]
