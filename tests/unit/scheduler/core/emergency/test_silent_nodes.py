"""Nodes silent for `fence_after`: switched off so that their gangs start elsewhere (I7)."""

from collections.abc import Callable

import msgspec
import pytest

from support.core.harness import Harness
from support.core.sites import job, site
from wattline_protocol.ids import Instant, JobId, NodeId
from wattline_protocol.job.selection import only
from wattline_protocol.site.out_of_band import OffByCommand, OutOfBand
from wattline_protocol.wire.client_messages import Cancel, DeclareOff, DeclareOn
from wattline_scheduler.core.emergency.bmc_checks import CHECK_AGAIN_S, CHECK_SOON_S, is_verified
from wattline_scheduler.core.model.effects import ActOutOfBand, Save
from wattline_scheduler.core.model.events import OutOfBandDone
from wattline_scheduler.core.model.power_off_attempts import BACKOFF_FIRST_S
from wattline_scheduler.records import NodeRecord

FENCE_S, ISOLATION_S = 30.0, 15.0
WAY = OutOfBand(OffByCommand(("status",), ("off",)), timeout_s=10.0)
BY_HAND = msgspec.structs.replace(WAY, is_automatic=False)


def fleet(
    nodes: int = 3,
    *,
    verified: bool = True,
    way: OutOfBand = WAY,
    lease_s: float = 3_600.0,
    **times: object,
) -> Harness:
    """Nodes with BMCs that say "on", and `fence_after`."""
    timing = {"fence_after_s": FENCE_S, "task_lease_s": lease_s, **times}
    built = site().rack("a", nodes).times(**timing).build()
    with_ways = tuple(msgspec.structs.replace(n, out_of_band=way) for n in built.nodes)
    h = Harness(msgspec.structs.replace(built, nodes=with_ways))
    h.join()
    h.run(2)
    if verified:
        answer_checks(h)
    return h


def orders(h: Harness) -> list[ActOutOfBand]:
    return [one for one in h.effects if isinstance(one, ActOutOfBand) and one.power_off]


def answer_checks(h: Harness, *, is_on: bool = True) -> None:
    """The BMCs answer every open query for their state."""
    under_way = h.cluster.state.off_attempts.under_way
    for name, one in list(under_way.items()):
        if one.purpose == "check":
            seen_at = None if is_on else h.now.mono_s
            h.handle(OutOfBandDone(name, one.number, seen_at, "on" if is_on else "", is_on))


def off(h: Harness) -> None:
    """The host of the newest order is off, and its BMC says so."""
    act = orders(h)[-1]
    h.agent(act.node).switch_off()
    h.handle(OutOfBandDone(act.node, act.number, h.now.mono_s))
    h.settle()


def not_off(h: Harness) -> None:
    act = orders(h)[-1]
    h.handle(OutOfBandDone(act.node, act.number, None, "its power state is still on"))
    h.settle()


def silence(h: Harness, *names: str, for_s: float = FENCE_S + 2) -> None:
    h.cut_off |= {NodeId(name) for name in names}
    h.run(for_s)


def where(h: Harness, number: JobId) -> list[str]:
    return [attempt.node for attempt in h.gang(number).live]


@pytest.fixture
def pair() -> tuple[Harness, JobId]:
    """A gang on a1 and a2; a3 is free."""
    h = fleet()
    number = h.submit(job().gpus(8).nodes(2).kind("training"))
    h.run(3)
    assert where(h, number) == ["a1", "a2"]
    return h, number


def test_the_gang_of_a_silent_node_starts_elsewhere_once_the_host_is_off(
    pair: tuple[Harness, JobId],
) -> None:
    h, number = pair
    silence(h, "a2", for_s=FENCE_S - 2)
    assert not orders(h)
    h.run(4)
    assert [one.node for one in orders(h)] == ["a2"]
    assert h.gang(number).attempt == 1, "an order proves nothing"
    off(h)
    h.run(5)
    assert h.node("a2").state == "off"
    assert where(h, number) == ["a1", "a3"]
    assert h.gang(number).attempt == 2
    assert "its gangs can start elsewhere" in h.events("node_off")[-1].text


def test_the_intent_is_on_disk_before_the_order(pair: tuple[Harness, JobId]) -> None:
    h, _ = pair
    silence(h, "a2")
    at = h.effects.index(orders(h)[0])
    saved = [one.record for one in h.effects[:at] if isinstance(one, Save)]
    assert any(isinstance(one, NodeRecord) and one.fence == "ordered" for one in saved)
    assert h.events("out_of_band_ordered")[-1].level == "alarm"


def test_it_is_off_by_default() -> None:
    h = fleet(fence_after_s=0.0)
    h.submit(job().gpus(8))
    silence(h, "a1", for_s=10 * FENCE_S)
    assert not [one for one in h.effects if isinstance(one, ActOutOfBand)]


def free_nodes_only(h: Harness) -> None:
    h.submit(job().gpus(8))
    silence(h, "a3")


def no_place_elsewhere(h: Harness) -> None:
    for _ in h.site.nodes:
        h.submit(job().gpus(8))
    h.run(3)
    silence(h, "a2")


def cancelled(h: Harness) -> None:
    number = h.submit(job().gpus(8))
    h.run(3)
    h.cut_off.add(NodeId("a1"))
    h.do(Cancel(only(number)))
    h.run(FENCE_S + 2)


def spared(h: Harness) -> None:
    h.submit(job().gpus(8))
    silence(h, "a1", for_s=ISOLATION_S + 2)
    h.do(DeclareOn(NodeId("a1")))
    h.run(FENCE_S)


@pytest.mark.parametrize("case", [free_nodes_only, no_place_elsewhere, cancelled, spared])
def test_a_node_is_fenced_only_where_it_helps(case: Callable[[Harness], None]) -> None:
    h = fleet()
    case(h)
    assert not orders(h)


def test_a_way_that_is_not_automatic_is_left_to_operators() -> None:
    h = fleet(way=BY_HAND)
    h.submit(job().gpus(8))
    silence(h, "a1", for_s=2 * FENCE_S)
    assert not orders(h)


# --- blast radius -------------------------------------------------------------------------


def test_while_more_than_fence_max_are_silent_none_is_fenced(pair: tuple[Harness, JobId]) -> None:
    h, _ = pair
    silence(h, "a2", "a3", for_s=2 * FENCE_S)
    assert not orders(h)
    alarm = h.events("fencing_withheld")[-1]
    assert alarm.level == "alarm"
    assert "2 nodes silent or fenced, fence_max is 1" in alarm.text
    h.cut_off.discard(NodeId("a3"))
    h.run(3)
    assert [one.node for one in orders(h)] == ["a2"]
    assert h.events("fencing_resumed")


def test_a_node_that_is_off_for_its_silence_counts_until_it_is_back() -> None:
    h = fleet(4)
    for _ in range(2):
        h.submit(job().gpus(8))
    h.run(3)
    silence(h, "a1")
    off(h)
    silence(h, "a2")
    assert len(orders(h)) == 1
    assert h.events("fencing_withheld")
    h.agent("a1").is_powered = True
    h.cut_off.discard(NodeId("a1"))
    h.join("a1")
    h.run(3)
    assert [one.node for one in orders(h)] == ["a1", "a2"]


def test_a_stall_of_the_scheduler_is_no_silence_of_the_nodes(pair: tuple[Harness, JobId]) -> None:
    h, _ = pair
    h.mono_s += 2 * FENCE_S
    h.tick()
    assert not orders(h)
    h.run(FENCE_S)
    assert not orders(h), "the nodes report again"


# --- BMCs ---------------------------------------------------------------------------------


def test_a_bmc_that_is_not_verified_fences_nothing() -> None:
    h = fleet(verified=False)
    h.submit(job().gpus(8))
    silence(h, "a1", for_s=2 * FENCE_S)
    assert not orders(h)


def test_a_bmc_that_says_off_of_a_host_that_reports_is_not_believed() -> None:
    h = fleet(verified=False)
    answer_checks(h, is_on=False)
    assert not h.events("out_of_band_unverified"), "it may just have lost its power"
    h.run(CHECK_SOON_S + 2)
    answer_checks(h, is_on=False)
    assert "is off, but its agent reports" in h.events("out_of_band_unverified")[-1].text
    assert not is_verified(h.node("a1"))
    h.run(CHECK_AGAIN_S + 2)
    answer_checks(h)
    assert is_verified(h.node("a1"))
    assert h.events("out_of_band_verified")


def test_another_bmc_in_the_site_file_is_verified_first(pair: tuple[Harness, JobId]) -> None:
    """It may belong to a healthy host, which would be switched off in place of the silent one."""
    h, _ = pair
    silence(h, "a2", for_s=FENCE_S + 2)
    assert [one.node for one in orders(h)] == ["a2"]
    other = msgspec.structs.replace(WAY, method=OffByCommand(("status", "a1"), ("off", "a1")))
    nodes = tuple(msgspec.structs.replace(n, out_of_band=other) for n in h.site.nodes)
    h.site = msgspec.structs.replace(h.site, nodes=nodes)
    h.restart_scheduler()
    h.agent("a2").said.clear()
    h.join("a1", "a3")
    h.run(2)
    answer_checks(h)
    h.run(2 * FENCE_S)
    assert [one.node for one in orders(h)] == ["a2"], "only the order of the first run"


def test_a_doubt_ends_with_fence_after() -> None:
    h = fleet(verified=False)
    for _ in range(2):
        answer_checks(h, is_on=False)
        h.run(CHECK_SOON_S + 2)
    assert h.events("out_of_band_unverified")
    timing = msgspec.structs.replace(h.site.timing, fence_after_s=0.0)
    h.site = msgspec.structs.replace(h.site, timing=timing)
    h.restart_scheduler()
    h.join()
    h.run(3)
    assert h.events("out_of_band_verified")


def test_a_bmc_that_does_not_confirm_changes_nothing(pair: tuple[Harness, JobId]) -> None:
    h, number = pair
    silence(h, "a2")
    committed_kw = h.committed_kw("a2")
    not_off(h)
    assert (h.gang(number).attempt, h.committed_kw("a2")) == (1, committed_kw)
    assert h.node("a2").record.fence == ""
    h.run(BACKOFF_FIRST_S + 2)
    assert len(orders(h)) == 2


@pytest.mark.parametrize("hello", [False, True])
def test_a_node_that_is_back_in_mid_fence_is_not_off(
    pair: tuple[Harness, JobId], hello: bool
) -> None:
    h, number = pair
    silence(h, "a2")
    act = orders(h)[-1]
    h.cut_off.clear()
    h.join("a2") if hello else h.run(2)
    assert h.node("a2").record.fence == ""
    h.handle(OutOfBandDone(NodeId("a2"), act.number, Instant(h.mono_s)))
    h.run(FENCE_S)
    assert h.node("a2").state == "ok"
    assert h.gang(number).attempt == 1
    assert len(orders(h)) == 1


def test_a_new_run_repeats_an_order_without_waiting_so_long_again(
    pair: tuple[Harness, JobId],
) -> None:
    h, number = pair
    silence(h, "a2")
    h.restart_scheduler()
    h.agent("a2").said.clear()
    h.join("a1", "a3")
    h.run(ISOLATION_S + 3)
    assert [one.node for one in orders(h)] == ["a2", "a2"]
    off(h)
    h.run(5)
    assert where(h, number) == ["a1", "a3"]


def test_an_operator_takes_over_what_is_being_fenced(pair: tuple[Harness, JobId]) -> None:
    h, number = pair
    silence(h, "a2")
    h.agent("a2").switch_off()
    h.do(DeclareOff(NodeId("a2"), confirmation="a2"))
    h.run(5)
    assert h.node("a2").record.fence == ""
    assert where(h, number) == ["a1", "a3"]
