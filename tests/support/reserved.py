"""Reservations for tests of the planner, and their rule said once more, node by node."""

from collections.abc import Sequence

import numpy as np

from wattline_scheduler.plan.reservations import MARGIN_S, NEAR_S, Span, Stay


def span_of(name: str, start: float, end: float, nodes: Sequence[int]) -> Span:
    """A reservation of the nodes at these positions, for somebody."""
    said = (f"at {start:g}", f"at {end:g}")
    return Span(name, start, end, np.array(nodes, np.int64), "somebody", *said)


def may_start(spans: Sequence[Span], at: int, stay: Stay, now: float) -> bool:
    """Whether such work may start now on the node at `at`."""
    here = [span for span in spans if at in span.nodes.tolist()]
    active = [span.name for span in here if span.start_unix_s <= now < span.end_unix_s]
    if active != ([stay.reservation] if stay.reservation else []):
        return False
    lasts_s = NEAR_S if stay.runs_s is None else stay.runs_s + MARGIN_S
    return not any(now < span.start_unix_s < now + lasts_s for span in here)
