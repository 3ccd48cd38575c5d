"""Explanations as they are when a question remembers nothing from one look to the next."""

from collections.abc import Sequence

import pytest

from support.core.parts import outlook
from wattline_protocol.ids import Now
from wattline_protocol.views.site_views import ExplainView
from wattline_scheduler.core.admission.planner_view import offer_of
from wattline_scheduler.core.explain import hypothetical
from wattline_scheduler.core.explain import hypothetical_cache as gone
from wattline_scheduler.core.explain.hypothetical_cache import HypotheticalCache
from wattline_scheduler.core.model.jobs.job import Gang, Job
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.model.snapshot import NodeOffer, Snapshot
from wattline_scheduler.plan.search.score_cache import Looks
from wattline_scheduler.time_slices import Parts


class _Forgetful(HypotheticalCache):
    def _known(self, gone: Sequence[Gang]) -> Parts[tuple[Snapshot, Looks]]:
        self._seen.clear()
        self._offers.clear()
        return (yield from super()._known(gone))


def _written_anew(state: State, node: NodeNow, now: Now, before: NodeOffer) -> NodeOffer:
    del before
    return offer_of(state, node, now)


def without_memory(state: State, job: Job, now: Now) -> ExplainView:
    """As `outlook`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hypothetical, "HypotheticalCache", _Forgetful)
        patch.setattr(gone, "offer_of", _written_anew)
        return outlook(state, job, now)
