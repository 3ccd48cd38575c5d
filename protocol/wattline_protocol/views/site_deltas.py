"""Pictures of a site that follow each other: what changed since the last one, and its application.

The scheduler numbers each change of a row. A delta has the rows whose changes are newer than the
subscriber's last number, each once and as it is now: deltas that a slow subscriber missed are
merged. `apply` is pure; rows that did not change are the same objects in both pictures.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import msgspec

from wattline_protocol.ids import DomainId, Epoch, JobId, NodeId, UnixTime
from wattline_protocol.views.queue_views import QueuedView
from wattline_protocol.views.site_views import (
    DomainView,
    EventView,
    JobView,
    NodeView,
    SiteView,
)
from wattline_protocol.wire.problems import ProblemView

K = TypeVar("K")
V = TypeVar("V")

MAX_EVENTS_SHOWN = 100
"""Events in a picture, the newest."""


class SiteHead(msgspec.Struct, frozen=True):
    """What belongs to no row."""

    site: str = ""
    simulated: bool = False
    refused_messages: int = 0
    problems: tuple[ProblemView, ...] = ()
    open_alarms: int = 0
    open_warnings: int = 0


class SiteOrder(msgspec.Struct, frozen=True):
    """All domains and nodes, in the order of the site file."""

    domains: tuple[DomainId, ...] = ()
    nodes: tuple[NodeId, ...] = ()


class SiteDelta(msgspec.Struct, frozen=True, tag_field="t", tag="site_delta"):
    """What changed from one picture to the next, or a piece of that."""

    epoch: Epoch
    base: int
    """Number of the picture that it applies to; 0: the empty one, a full picture follows."""
    number: int
    """Number of the picture after it."""
    is_whole: bool
    """False: a piece of a full picture, the next follows."""
    unix_s: UnixTime
    """When the scheduler began to make the picture: no row of it is older."""
    head: SiteHead | None = None
    order: SiteOrder | None = None
    queue: tuple[QueuedView, ...] | None = None
    """None, of these three: as before."""
    domains: tuple[DomainView, ...] = ()
    nodes: tuple[NodeView, ...] = ()
    jobs: tuple[JobView, ...] = ()
    events: tuple[EventView, ...] = ()
    gone: tuple[JobId, ...] = ()
    """Jobs that left the picture."""


class MissedDelta(Exception):
    """A delta that does not apply to this picture: a full one is needed."""


@dataclass(frozen=True)
class Picture:
    """The site as far as its rows have arrived."""

    epoch: Epoch
    number: int
    is_whole: bool
    """Every row has arrived."""
    unix_s: UnixTime
    head: SiteHead
    order: SiteOrder
    domains: Mapping[DomainId, DomainView]
    nodes: Mapping[NodeId, NodeView]
    jobs: Mapping[JobId, JobView]
    events: tuple[EventView, ...]
    queue: tuple[QueuedView, ...]

    @cached_property
    def site(self) -> SiteView:
        """The same as one value."""
        return SiteView(
            site=self.head.site,
            epoch=self.epoch,
            unix_s=self.unix_s,
            simulated=self.head.simulated,
            domains=tuple(self.domains[one] for one in self.order.domains if one in self.domains),
            nodes=tuple(
                self._aged(self.nodes[one]) for one in self.order.nodes if one in self.nodes
            ),
            jobs=tuple(self.jobs[number] for number in sorted(self.jobs)),
            events=self.events,
            refused_messages=self.head.refused_messages,
            problems=self.head.problems,
            open_alarms=self.head.open_alarms,
            open_warnings=self.head.open_warnings,
            queue=self.queue,
        )

    def _aged(self, node: NodeView) -> NodeView:
        """A late node is not sent again for growing later."""
        if node.heard_unix_s is None:
            return node
        ago_s = max(0.0, self.unix_s - node.heard_unix_s)
        return msgspec.structs.replace(node, heard_ago_s=ago_s)


EMPTY = Picture(
    epoch=Epoch(0),
    number=0,
    is_whole=False,
    unix_s=UnixTime(0.0),
    head=SiteHead(),
    order=SiteOrder(),
    domains={},
    nodes={},
    jobs={},
    events=(),
    queue=(),
)


def whole_picture(site: SiteView) -> Picture:
    """Of a scheduler that sends whole snapshots."""
    return Picture(
        epoch=site.epoch,
        number=0,
        is_whole=True,
        unix_s=site.unix_s,
        head=SiteHead(
            site.site,
            site.simulated,
            site.refused_messages,
            site.problems,
            site.open_alarms,
            site.open_warnings,
        ),
        order=SiteOrder(tuple(d.id for d in site.domains), tuple(n.id for n in site.nodes)),
        domains={one.id: one for one in site.domains},
        nodes={one.id: one for one in site.nodes},
        jobs={one.id: one for one in site.jobs},
        events=site.events,
        queue=site.queue,
    )


def apply(picture: Picture, delta: SiteDelta) -> Picture:
    """The next picture. Raises MissedDelta."""
    if delta.base == 0:
        picture = EMPTY
    elif (delta.epoch, delta.base) != (picture.epoch, picture.number):
        raise MissedDelta(
            f"the delta is of picture {delta.base} of epoch {delta.epoch}, the picture is "
            f"{picture.number} of epoch {picture.epoch}"
        )
    return replace(
        picture,
        epoch=delta.epoch,
        number=delta.number,
        is_whole=delta.is_whole,
        unix_s=delta.unix_s,
        head=delta.head or picture.head,
        order=delta.order or picture.order,
        domains=_merged(picture.domains, {one.id: one for one in delta.domains}),
        nodes=_merged(picture.nodes, {one.id: one for one in delta.nodes}),
        jobs=_without(_merged(picture.jobs, {one.id: one for one in delta.jobs}), delta.gone),
        events=(*picture.events, *delta.events)[-MAX_EVENTS_SHOWN:],
        queue=picture.queue if delta.queue is None else delta.queue,
    )


def _merged(old: Mapping[K, V], new: dict[K, V]) -> Mapping[K, V]:
    return {**old, **new} if new else old


def _without(rows: Mapping[K, V], gone: tuple[K, ...]) -> Mapping[K, V]:
    if not gone:
        return rows
    left = frozenset(gone)
    return {key: row for key, row in rows.items() if key not in left}
