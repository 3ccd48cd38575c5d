"""What would happen with fewer watts: as the scheduler does it when that happens."""

from collections import Counter
from typing import Any, cast

import numpy as np
import pytest

from support.core.harness import Harness, joined
from support.core.sites import job, site
from wattline_protocol.ids import DomainId, JobId, NodeId
from wattline_protocol.job.selection import only
from wattline_protocol.views.power_views import PowerOutlook, WhatIfPower
from wattline_protocol.wire.client_messages import Cancel, Denied, Shed
from wattline_scheduler.core.emergency import pausing
from wattline_scheduler.core.explain import power_outlook as outlooks
from wattline_scheduler.core.explain.power_outlook import power_outlook
from wattline_scheduler.time_slices import Parts, at_once

SITE = DomainId("site")


def busy() -> Harness:
    """Two nodes, each with a job of its own priority."""
    h = joined(site().rack("a", 1, kw=15.0).rack("b", 1, kw=15.0).build())
    h.submit(job("low").gpus(8).priority(25))
    h.submit(job("high").gpus(8).priority(75))
    h.run(10.0)
    return h


def outlook(h: Harness, request: WhatIfPower) -> PowerOutlook:
    found = at_once(power_outlook(h.cluster.state, request, h.now))
    assert isinstance(found, PowerOutlook)
    return found


def effects(view: PowerOutlook) -> list[tuple[JobId, str]]:
    return [(one.job, one.effect) for one in view.jobs]


def drawn_mw(h: Harness) -> int:
    return sum(h.cluster.state.books.committed_mw(name) for name in h.cluster.state.nodes)


def limited(h: Harness) -> set[JobId]:
    """Jobs on nodes that a domain limits."""
    state = h.cluster.state
    nodes = [
        node
        for name, node in state.nodes.items()
        if state.binding.row[state.fleet.matrix.at[name]] >= 0
    ]
    return {attempt.gang.job.id for node in nodes for attempt in node.attempts.values()}


@pytest.mark.parametrize("lost_kw", [1, 4, 6, 7, 9, 10])
def test_the_same_happens_when_the_domain_loses_the_watts(lost_kw: int) -> None:
    h = busy()
    spare_mw = h.cluster.state.domains.budget_mw(SITE) - drawn_mw(h)
    by_mw = spare_mw + lost_kw * 1_000_000
    view = outlook(h, WhatIfPower(SITE, by_mw=by_mw))
    h.do(Shed(SITE, by_mw=by_mw))
    h.run(30.0)
    paused = {number for number in h.cluster.state.work.jobs if h.state_of(number) == "PAUSED"}
    assert {number for number, effect in effects(view) if effect == "paused"} == paused
    assert {number for number, effect in effects(view) if effect == "slowed"} == limited(h) - paused


def test_nothing_is_changed_by_the_question() -> None:
    h = busy()
    fleet, before = h.cluster.state.fleet, h.cluster.state.fleet.newest
    columns = {name: getattr(fleet.gpus, name).copy() for name in ("target_mw", "priority")}
    outlook(h, WhatIfPower(SITE, fraction=0.9))
    outlook(h, WhatIfPower(SITE, fails=True))
    assert fleet.newest is before
    assert all(np.array_equal(getattr(fleet.gpus, name), was) for name, was in columns.items())


def test_a_domain_that_fails_ends_the_work_of_nodes_without_another_input() -> None:
    h = busy()
    view = outlook(h, WhatIfPower(DomainId("pdu-a"), fails=True))
    on_a = {attempt.gang.job.id for attempt in h.node("a1").attempts.values()}
    assert (view.nodes, view.node_count) == (("a1",), 1)
    assert effects(view) == [(number, "lost") for number in on_a]
    assert (view.then_w, view.short_w, view.slowed) == (0.0, 0.0, 0)
    assert view.lines[1] == "1 node without power: a1"


def test_enough_watts_for_all_slow_no_job() -> None:
    view = outlook(busy(), WhatIfPower(SITE, by_mw=1_000))
    assert effects(view) == []
    assert view.lines[-1] == "no job slowed"


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (WhatIfPower(DomainId("pdu-c"), fails=True), "pdu-"),
        (WhatIfPower(SITE), "give exactly one of"),
        (WhatIfPower(SITE, by_mw=1, fails=True), "give exactly one of"),
        (WhatIfPower(DomainId("pdu-a"), by_mw=99_000_000_000), "it cannot lose 99 MW"),
        (WhatIfPower(SITE, fraction=1.5), "above 0 and at most 1, as 0.25, not 1.5"),
        (WhatIfPower(SITE, fraction=-0.1), "above 0 and at most 1, as 0.25, not -0.1"),
        (WhatIfPower(SITE, by_mw=-5_000), "the watts it loses must be above 0, not -5 W"),
    ],
    ids=["unknown", "none", "two", "too much", "share above 1", "share below 0", "watts below 0"],
)
def test_a_question_without_an_answer_says_why(request_: WhatIfPower, text: str) -> None:
    denied = at_once(power_outlook(busy().cluster.state, request_, busy().now))
    assert isinstance(denied, Denied)
    assert text in denied.reason


def all_lost(h: Harness) -> Parts[PowerOutlook | Denied]:
    return power_outlook(h.cluster.state, WhatIfPower(SITE, fraction=1.0), h.now)


def test_no_part_divides_watts_twice_or_examines_many_gangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    h = joined(site().rack("a", 1).rack("b", 1).build())
    for number in range(12):
        h.submit(job(f"j{number}").gpus(1))
    h.run(10.0)
    expected = at_once(all_lost(h))
    done: list[str] = []
    for module, name in ((outlooks, "allocate"), (pausing, "relief_of"), (outlooks, "_row")):
        act = getattr(module, name)

        def counted(*given: Any, act: Any = act, name: str = name, **more: Any) -> Any:
            done.append(name)
            return act(*given, **more)

        monkeypatch.setattr(module, name, counted)
    monkeypatch.setattr(pausing, "GANGS_PER_PART", 2)
    monkeypatch.setattr(outlooks, "JOBS_PER_PART", 2)
    in_parts: list[Counter[str]] = []

    def watched() -> Parts[PowerOutlook | Denied]:
        parts = all_lost(h)
        while True:
            done.clear()
            try:
                next(parts)
            except StopIteration as found:
                return cast("PowerOutlook | Denied", found.value)
            finally:
                in_parts.append(Counter(done))
            yield

    found = at_once(watched())
    assert found == expected
    assert isinstance(found, PowerOutlook)
    assert [one.effect for one in found.jobs] == ["paused"] * 12
    assert sum(one["relief_of"] for one in in_parts) >= 12
    assert all(sum(one.values()) <= (1 if one["allocate"] else 2) for one in in_parts), in_parts


def test_jobs_that_end_and_nodes_that_fall_silent_meanwhile_are_no_error() -> None:
    for before in range(1, 7):
        h = busy()
        parts = all_lost(h)
        for _ in range(before):
            next(parts)
        h.ask(Cancel(only(next(iter(h.cluster.state.work.jobs)))))
        h.cut_off.add(NodeId("b1"))
        h.run(20.0)
        assert isinstance(at_once(parts), PowerOutlook)
