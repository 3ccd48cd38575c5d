"""`whatif` tells the truth: what starts now by its word does, and what would help by it does."""

import re

import msgspec
from hypothesis import event, given, settings
from hypothesis import strategies as st

from support.core.harness import Harness
from support.core.parts import what_if
from support.core.sites import JobBuilder, job, site
from wattline_protocol.ids import JobId, UserName
from wattline_protocol.job.selection import only
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.site.model import Queue, Quota
from wattline_protocol.views.site_views import ExplainView
from wattline_protocol.wire.client_messages import Cancel, Denied, Submit, Submitted
from wattline_scheduler.core.model.jobs.job import LIVE
from wattline_scheduler.records import AttemptRecord

ADA = UserName("ada")

NOW = "resources are free now"

KEYS = {"gpus": "gpus_per_node", "nodes": "nodes"}
"""What a remedy changes, by its kind."""

budgets = st.sampled_from([10.0, 20.0, 1_000.0])


@st.composite
def sites(draw: st.DrawFn) -> Harness:
    """Two racks, watts that bind or do not, a quota; on some hosts tasks are slow to stop."""
    racks = site().rack("a", draw(st.integers(1, 2)), kw=draw(budgets)).rack("b", 1)
    night = Queue("night", quota=Quota(gpus=8))
    built = racks.times(protected_run_s=draw(st.sampled_from([0.0, 0.0, 60.0]))).build()
    h = Harness(msgspec.structs.replace(built, queues=(night,)))
    h.join()
    h.run(2)
    for agent in h.agents.values():
        agent.is_stubborn = draw(st.booleans())
    return h


@st.composite
def jobs(draw: st.DrawFn) -> JobBuilder:
    wanted = job().priority(draw(st.sampled_from([25, 50, 75])))
    wanted = wanted.gpus(draw(st.sampled_from([2, 4, 8])))
    if draw(st.integers(0, 4)) == 0:
        wanted = wanted.share(draw(st.sampled_from([250, 500])))
    wanted = wanted.nodes(draw(st.sampled_from([1, 1, 1, 2])))
    if draw(st.booleans()):
        wanted = wanted.runtime(draw(st.sampled_from([30, 300])))
    if draw(st.integers(0, 3)) == 0:
        wanted = wanted.queue("night")
    return wanted.same_rack() if draw(st.integers(0, 3)) == 0 else wanted


def submitted(h: Harness, spec: JobSpec) -> JobId | None:
    """Its number once what happens at once has; None = it was refused."""
    answer = h.ask(Submit(spec, f"token-{h.cluster.state.next_job}"), user=ADA, role="submitter")
    h.settle()
    return answer.job if isinstance(answer, Submitted) else None


def began(h: Harness, number: JobId) -> bool:
    return h.gang(number).phase_name in LIVE


def sent_away(h: Harness) -> int:
    """Tries that were or are being stopped for others."""
    stopped = sum(one.state == "PREEMPTED" for one in h.disk.of(AttemptRecord))
    gangs = (gang for each in h.cluster.state.work.jobs.values() for gang in each.gangs)
    return stopped + sum(gang.phase_name == "ending" for gang in gangs)


def instead(spec: JobSpec, view: ExplainView) -> JobSpec | None:
    """The job as the first remedy would have it that says how much to ask for."""
    for remedy in view.remedies:
        found = re.match(r"with (\d+) ", remedy.text)
        if remedy.kind in KEYS and found:
            changed = {KEYS[remedy.kind]: int(found[1])}
            resources = msgspec.structs.replace(spec.resources, **changed)
            return msgspec.structs.replace(spec, resources=resources)
    return None


@settings(max_examples=15)
@given(
    sites(), st.lists(st.tuples(jobs(), st.sampled_from([0, 0, 1, 61])), min_size=4, max_size=12)
)
def test_what_it_says_starts_now_does_and_what_it_says_would_help_does(
    h: Harness, queue: list[tuple[JobBuilder, int]]
) -> None:
    for wanted, later_s in queue:
        h.run(later_s)
        spec, before = wanted.build(), sent_away(h)
        view = what_if(h.cluster.state, ADA, spec, {}, h.now)
        number = submitted(h, spec)
        assert isinstance(view, Denied) == (number is None)
        if isinstance(view, Denied) or number is None:
            continue
        has_room = view.start_why.startswith(NOW)
        event(f"says now: {has_room}")
        assert not has_room or (began(h, number) and sent_away(h) == before)
        assert has_room or not began(h, number) or sent_away(h) > before
        other = None if began(h, number) or sent_away(h) > before else instead(spec, view)
        if other is not None:
            event("with less")
            h.do(Cancel(only(number)))
            smaller = submitted(h, other)
            assert smaller is not None
            assert began(h, smaller)
