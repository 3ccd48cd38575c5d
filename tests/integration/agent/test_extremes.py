"""A scheduler says extremes in every field: the agent runs on, and obeys its next incarnation."""

import time
from collections.abc import Callable
from typing import Any

import msgspec

from support.node.agent_process import AgentProcess
from support.programs.fake_scheduler import DEADLINE_S, FakeScheduler
from wattline_bench.abuse.extremes import Extreme, extremes
from wattline_protocol.ids import Epoch
from wattline_protocol.wire.agent_messages import Beat, Hello, Rehello, ToAgent

GPUS = 2
STEP = 5
"""One of so many messages."""
PUMP_EVERY = 20
LEASE_MW = 8_000_000

FENCES = frozenset({"welcome", "refused", "rehello"})
"""Not with every epoch: a later one in a Welcome is obeyed, and fences the one of the test out."""


def addressed(site: FakeScheduler, one: Extreme) -> bytes | None:
    """With the names under which it is obeyed, but for what is walked; None = a later epoch."""
    epoch, incarnation, seq = site.names()
    names: dict[str, Any] = {"epoch": epoch, "incarnation": incarnation, "seq": seq}
    if one.tag == "welcome":
        hello = site.last(Hello)
        assert hello is not None
        names |= {"protocol": 1, "instance": "fake", "nonce": hello.nonce}
        names["incarnation"] = incarnation + 1
    given = {n: value for n, value in names.items() if n in one.message and one.path[0] != n}
    if one.tag in FENCES and one.path[0] in ("epoch", "incarnation") and is_later(one, epoch):
        return None
    return msgspec.msgpack.encode({**one.message, **given})


def is_later(one: Extreme, epoch: int) -> bool:
    """Whether what is walked is an epoch or incarnation that no later one of ours can follow."""
    value = one.message[str(one.path[0])]
    return isinstance(value, int) and value > epoch + 1


def walk(site: FakeScheduler, tags: Callable[[str], bool], step: int) -> int:
    """Say extremes of these kinds of messages; how many."""
    sent = 0
    for one in extremes(ToAgent, step=step):
        if not tags(one.tag):
            continue
        said = addressed(site, one)
        if said is None:
            continue
        site.send_bytes(said)
        sent += 1
        if sent % PUMP_EVERY == 0:
            site.pump(0.01)
    return sent


def ask_for_hello(site: FakeScheduler) -> None:
    """Rehello, again and again as a scheduler does, until a new incarnation has read its caps.

    One alone may be lost: an agent that was welcomed a moment ago takes it for one that was meant
    for the incarnation before (`REHELLO_GRACE_S`).
    """
    incarnation, end_s = site.incarnation, time.monotonic() + DEADLINE_S
    while site.incarnation == incarnation:
        site.send(Rehello(Epoch(site.epoch), "the test asks"))
        site.pump(0.25)
        assert time.monotonic() < end_s, "no new Hello"
    site.adopted()


def obeys(site: FakeScheduler, agent: AgentProcess) -> None:
    """It takes a lease of its newest incarnation, and runs."""
    site.leased(LEASE_MW, (300_000,) * GPUS)
    assert agent.process is not None
    assert agent.process.poll() is None


def test_extremes_of_a_scheduler_end_nothing(agent: AgentProcess, site: FakeScheduler) -> None:
    assert walk(site, lambda tag: tag not in FENCES, STEP) > 500
    beats = len(site.all(Beat))
    site.until(lambda: len(site.all(Beat)) > beats + 2, "beats after the extremes")
    site.seq = 0
    ask_for_hello(site)  # a lease with the largest number was the last one of that incarnation
    obeys(site, agent)


def test_extremes_in_greetings_end_nothing(agent: AgentProcess, site: FakeScheduler) -> None:
    assert walk(site, FENCES.__contains__, 1) > 500
    site.pump(0.5)
    site.seq = 0
    ask_for_hello(site)
    obeys(site, agent)


def test_extremes_in_answers_to_its_hello_end_nothing(
    agent: AgentProcess, site: FakeScheduler
) -> None:
    """Welcome and Refused are looked at only while a Hello waits for its answer."""
    site.answers_hellos = False
    site.close()
    site.open()
    hellos = len(site.all(Hello))
    site.until(lambda: len(site.all(Hello)) > hellos, "a Hello that waits")
    assert walk(site, {"welcome", "refused"}.__contains__, 1) > 300
    site.answers_hellos = True
    site.epoch += 1  # a Welcome that was walked may have begun an incarnation of the epoch before
    site.close()
    site.open()
    incarnation = site.incarnation
    site.until(lambda: site.incarnation > incarnation, "a new Hello")
    site.adopted()
    site.seq = 0
    obeys(site, agent)
