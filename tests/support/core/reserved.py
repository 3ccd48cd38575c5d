"""Reservations for tests, and the planner's rule for them said once more, node by node."""

from collections.abc import Sequence

import msgspec
import numpy as np

from support.core.harness import Harness, joined, running
from support.core.sites import site
from wattline_protocol.ids import JobId, NodeId
from wattline_protocol.site.model import Account
from wattline_protocol.wire.reservations import Reserve
from wattline_scheduler.core.lifecycle.job_state import reason_of
from wattline_scheduler.plan.model.reserved_nodes import MARGIN_S, NEAR_S, Span, Stay

HOUR_S = 3600.0


def started(*accounts: Account, nodes: int = 2) -> Harness:
    """A site whose nodes have been heard."""
    plain = site().rack("a", nodes, kw=80.0).site_budget(80.0).build()
    return joined(msgspec.structs.replace(plain, accounts=accounts))


def kept(name: str = "course", **more: object) -> Reserve:
    """Node a1 for ada, for an hour from now."""
    usual: dict[str, object] = {"for_s": HOUR_S}
    usual |= {} if {"nodes", "count", "gpus"} & more.keys() else {"nodes": ("a1",)}
    usual |= {} if {"accounts", "is_maintenance"} & more.keys() else {"users": ("ada",)}
    return Reserve(name, **{**usual, **more})  # type: ignore[arg-type]  # tests choose the fields


def nodes_of(h: Harness, number: JobId) -> list[NodeId]:
    return [node for node, _ in running(h, number)]


def reason(h: Harness, number: JobId) -> str:
    h.run(1)
    return reason_of(h.job(number), h.state_of(number))


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
