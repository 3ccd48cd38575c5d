"""Why a node has its watts: sentences first, then its GPUs."""

import time
from collections.abc import Iterator, Sequence

from rich.console import Group
from rich.text import Text

from wattline.acts.power import NodeWhy
from wattline.show import units
from wattline.show.tables import Column, Listing
from wattline_protocol.lists.limit_table import limit_line
from wattline_protocol.text.moments import when
from wattline_protocol.text.wording import counted, named
from wattline_protocol.views.site_views import DomainView, PriorityShare, WhyGpu, WhyView

NO_TASK = -1
"""Priority of GPUs that draw power without an allocated task."""


def why(shown: NodeWhy) -> Group:
    """The complete answer."""
    now_s = time.time()
    sentences = Text("\n".join(lines(shown, now_s)))
    if not shown.why.gpus:
        return Group(sentences)
    return Group(sentences, Text(), gpus(shown.why.gpus))


def lines(shown: NodeWhy, now_s: float) -> Iterator[str]:
    """The sentences, the most important first."""
    view = shown.why
    yield _lease(view)
    if view.binding is None:
        yield f"No domain limits it: {view.reason}."
        return
    yield _binding(view, now_s)
    yield f"Reason: {view.reason}."
    if shown.domain is not None:
        yield from _budget(shown.domain, now_s)
    yield from _served(view)


def _lease(view: WhyView) -> str:
    said = f"{view.node} has a lease of {units.watts(view.lease_w)}"
    if view.committed_w > view.lease_w:
        said += f" ({units.watts(view.committed_w)} still committed)"
    if view.wanted_w is None or view.floor_w is None:
        return f"{said}."
    wanted = f"its tasks request {units.watts(view.wanted_w)}"
    return f"{said}; {wanted}, their minimum is {units.watts(view.floor_w)}."


def _binding(view: WhyView, now_s: float) -> str:
    since = ""
    if view.since_unix_s is not None:
        ago = units.seconds(max(0.0, now_s - view.since_unix_s))
        since = f" since {when(view.since_unix_s, now_s)} ({ago})"
    case = f", for the case that {view.when_lost} fails" if view.when_lost else ""
    room = (
        ""
        if view.grantable_w is None
        else f"; all its leases together have {units.watts(view.grantable_w)}"
    )
    return f"{view.binding} limits it{since}{case}{room}."


def _budget(domain: DomainView, now_s: float) -> Iterator[str]:
    if domain.budget_w >= domain.full_budget_w:
        yield f"The full budget of {domain.id} ({units.watts(domain.budget_w)}) is in force."
        return
    budget = f"{units.watts(domain.budget_w)} of {units.watts(domain.full_budget_w)}"
    yield f"The budget of {domain.id} is {budget}:"
    for limit in domain.limits:
        if limit.phase != "planned":
            yield f"  {limit_line(limit, now_s)}"


def _served(view: WhyView) -> Iterator[str]:
    own = {gpu.priority for gpu in view.gpus}
    highest = max(own, default=NO_TASK)
    before = [share for share in view.served if share.priority > highest]
    beside = [share for share in view.served if share.priority in own]
    after = [share for share in view.served if share.priority < highest and share not in beside]
    for word, shares in (("before it", before), ("beside it", beside), ("after it", after)):
        if shares:
            yield f"Served {word} in {view.binding}: {'; '.join(map(_share, shares))}."
    if not before:
        yield f"It has the highest priority in {view.binding}."


def _share(share: PriorityShare) -> str:
    gpus = counted(share.gpus, "GPU")
    whose = "without a task" if share.priority == NO_TASK else f"of priority {share.priority}"
    jobs = f" ({named('job', share.jobs)})" if share.jobs else ""
    below = f", {share.gpus_below_demand} below their demand" if share.gpus_below_demand else ""
    return f"{gpus} {whose}{jobs} have {units.watts(share.given_w)}{below}"


def gpus(some: Sequence[WhyGpu]) -> Listing:
    """Watts given to each GPU with work, and its demand."""
    return Listing(
        columns=(
            Column("GPU", [str(g.index) for g in some], is_right=True),
            Column("JOB", [g.jobs or units.NOT_KNOWN for g in some], is_right=True),
            Column("PRIORITY", [_priority(g) for g in some], is_right=True),
            Column("MINIMUM", [units.watts(g.floor_w) for g in some], is_right=True, weight=2),
            Column("USEFUL CAP", [units.watts(g.useful_w) for g in some], is_right=True, weight=1),
            Column("DEMAND", [units.watts(g.wanted_w) for g in some], is_right=True),
            Column("GRANTED", [units.watts(g.given_w) for g in some], is_right=True),
            Column("BOUND BY", [g.binding or units.NOT_KNOWN for g in some], grows=True),
        ),
        empty="No tasks run on its GPUs.",
    )


def _priority(gpu: WhyGpu) -> str:
    return units.NOT_KNOWN if gpu.priority == NO_TASK else str(gpu.priority)
