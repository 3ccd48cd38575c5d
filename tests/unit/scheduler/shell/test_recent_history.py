"""What was read in the last 15 minutes, at even steps; what was not read is None, never zero."""

import pytest

from support.core.harness import Harness, joined
from support.core.sites import job, site
from wattline_protocol.ids import GpuIndex, UnixTime
from wattline_protocol.views.history_views import (
    HISTORY_S,
    HISTORY_STEP_S,
    GetHistory,
    History,
    Series,
    Subject,
)
from wattline_protocol.wire.client_messages import Denied
from wattline_scheduler.shell.recent_history import STEPS, RecentHistory
from wattline_scheduler.views.domains_view import domain_views
from wattline_scheduler.views.nodes_view import node_view

SITE, NODE, FIRST_GPU = Subject("domain", "site"), Subject("node", "a1"), Subject("gpu", "a1")


class Kept:
    """A site whose history is read each second."""

    def __init__(self, seconds: float) -> None:
        self.h = joined(site().rack("a", 2).rack("b", 1).build())
        self.history = RecentHistory(self.h.cluster.state)
        self.run(seconds)

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.h.run(1.0)
            self.history.read(self.h.now)

    def ask(
        self, *subjects: Subject, since_s: float = 0.0, step_s: int = HISTORY_STEP_S
    ) -> History:
        answer = self.history.answer(GetHistory(subjects, UnixTime(since_s), step_s), self.h.now)
        assert isinstance(answer, History)
        assert all(
            len(values) == len(next(iter(series.columns.values())))
            for series in answer.series
            for values in series.columns.values()
        )
        return answer

    def refused(self, subject: Subject) -> str:
        answer = self.history.answer(GetHistory((subject,)), self.h.now)
        assert isinstance(answer, Denied)
        assert answer.kind == "not_found"
        return answer.reason


def newest(series: Series, column: str) -> float | None:
    read = [value for value in series.columns[column] if value is not None]
    return read[-1] if read else None


def node_watts(h: Harness, name: str) -> float:
    return node_view(h.cluster.state, h.node(name), h.now).estimated_w


def test_columns_are_what_the_views_show() -> None:
    kept = Kept(3)
    kept.h.submit(job().gpus(2))
    kept.run(20)
    domain, node, gpu = kept.ask(SITE, NODE, FIRST_GPU).series
    view = next(d for d in domain_views(kept.h.cluster.state, kept.h.now) if d.id == "site")
    shown = node_view(kept.h.cluster.state, kept.h.node("a1"), kept.h.now)
    assert newest(domain, "measured_w") == pytest.approx(view.measured_w)
    assert newest(domain, "committed_w") == pytest.approx(view.committed_w)
    assert newest(domain, "budget_w") == pytest.approx(view.budget_w)
    assert newest(node, "drawn_w") == pytest.approx(shown.estimated_w)
    assert newest(node, "committed_w") == pytest.approx(shown.committed_w)
    assert newest(node, "inlet_c") == shown.inlet_c
    assert newest(gpu, "power_w") == pytest.approx(shown.gpus[0].power_w, abs=0.05)
    assert newest(gpu, "cap_w") == pytest.approx(shown.gpus[0].cap_w, abs=0.05)
    assert (newest(gpu, "temp_c"), newest(gpu, "util_pct")) == (
        shown.gpus[0].temp_c,
        shown.gpus[0].util_pct,
    )


def test_every_node_is_read_once_in_a_step_and_none_twice_as_often() -> None:
    kept = Kept(60)
    series = kept.ask(*(Subject("node", name) for name in kept.h.agents)).series
    for one in series:
        read = one.columns["drawn_w"]
        begun = next(at for at, value in enumerate(read) if value is not None)
        assert all(value is not None for value in read[begun:-1]), "no step without a reading"


def test_it_ends_after_15_minutes_and_a_silent_node_has_gaps() -> None:
    kept = Kept(20)
    kept.h.cut_off.add(kept.h.node("a2").id)
    kept.run(40)
    silent, heard = kept.ask(Subject("node", "a2"), NODE).series
    assert silent.columns["drawn_w"][-3] is None
    assert silent.columns["committed_w"][-3] is not None, "its watts stay committed"
    assert heard.columns["drawn_w"][-3] is not None
    kept.h.mono_s += 10 * HISTORY_S
    kept.history.read(kept.h.now)
    (after,) = kept.ask(SITE).series
    assert len(after.columns["budget_w"]) == STEPS
    assert [value is None for value in after.columns["budget_w"]] == [True] * (STEPS - 1) + [False]


def test_a_later_begin_and_a_longer_step_give_less_and_means() -> None:
    kept = Kept(120)
    now_s = kept.h.now.unix_s
    fine = kept.ask(SITE, since_s=now_s - 60.0)
    assert fine.since_unix_s <= now_s - 60.0 < fine.since_unix_s + HISTORY_STEP_S
    coarse = kept.ask(SITE, since_s=now_s - 60.0, step_s=13)
    assert coarse.step_s == 15
    assert (coarse.since_unix_s - fine.since_unix_s) % HISTORY_STEP_S == pytest.approx(0.0)
    everything = kept.ask(SITE).series[0].columns["committed_w"]
    means = kept.ask(SITE, step_s=10 * HISTORY_S).series[0].columns["committed_w"]
    known = [value for value in everything if value is not None]
    assert means[-1] == pytest.approx(sum(known) / len(known), rel=1e-6)
    assert kept.ask(SITE, since_s=now_s + 1e6).series[0].columns["budget_w"] != ()


def test_nothing_was_read_yet_and_none_is_no_zero() -> None:
    h = Harness(site().rack("a", 1).build())
    history = RecentHistory(h.cluster.state)
    answer = history.answer(GetHistory((SITE, NODE)), h.now)
    assert isinstance(answer, History)
    assert all(
        value is None
        for one in answer.series
        for column in one.columns.values()
        for value in column
    )
    history.read(h.now)
    again = history.answer(GetHistory((SITE,)), h.now)
    assert isinstance(again, History)
    assert newest(again.series[0], "budget_w")


def test_unknown_subjects_are_named_with_what_there_is() -> None:
    kept = Kept(1)
    assert "nearest is a1" in kept.refused(Subject("node", "a11"))
    assert "no domain 'sit'" in kept.refused(Subject("domain", "sit"))
    last = len(kept.h.node("a1").gpus) - 1
    wrong = Subject("gpu", "a1", GpuIndex(last + 1))
    assert kept.refused(wrong) == f"a1 has no GPU {last + 1}; it has GPUs 0 to {last}"
