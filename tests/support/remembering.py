"""Explanations as they are when a question remembers nothing from one look to the next."""

from collections.abc import Sequence

import pytest

from support.parts import outlook
from wattline_protocol.ids import Now
from wattline_protocol.views import ExplainView
from wattline_scheduler.core import asif, gone
from wattline_scheduler.core.gone import Gone
from wattline_scheduler.core.jobs import Gang, Job
from wattline_scheduler.core.nodes import NodeNow
from wattline_scheduler.core.offering import offer_of
from wattline_scheduler.core.state import State
from wattline_scheduler.plan.looks import Looks
from wattline_scheduler.plan.parts import Parts
from wattline_scheduler.plan.snapshot import NodeOffer, Snapshot


class _Forgetful(Gone):
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
        patch.setattr(asif, "Gone", _Forgetful)
        patch.setattr(gone, "offer_of", _written_anew)
        return outlook(state, job, now)
