"""The states of a site that screens are pictured in: snapshots, and answers about the rest."""

from collections.abc import Callable

import msgspec

from support.core.large_site import (
    large_accounts,
    large_reservations,
    large_services,
    large_site,
)
from support.core.service_views import services_now
from support.core.site_views import NOON, busy_site, empty_site, run_report, troubled_site
from support.programs.feeds import PlayedFeed
from support.strategies.hostile import HOSTILE, filled
from wattline_protocol.ids import JobId
from wattline_protocol.views.host_view import HostView
from wattline_protocol.views.service_views import RouteView, Services
from wattline_protocol.views.site_views import ExplainView, SiteView
from wattline_protocol.wire.client_messages import Accounts
from wattline_protocol.wire.problems import ProblemView
from wattline_protocol.wire.reservations import Reservations

ROUTE = RouteView("front", "", ("chat", "digits"), ())


def busy_feed() -> PlayedFeed:
    """A small site at work."""
    feed = PlayedFeed(busy_site())
    feed.services = Services(services_now().services, (ROUTE,))
    return feed


def troubled_feed() -> PlayedFeed:
    """The same in alarm."""
    site = troubled_site()
    burning = ProblemView(
        7, "slo_burning", "service chat", "warning", NOON, None, "burns 3.2 ×", job=JobId(1)
    )
    feed = PlayedFeed(
        msgspec.structs.replace(site, problems=(*site.problems, burning), open_warnings=2)
    )
    feed.services = Services(
        services_now().services, (msgspec.structs.replace(ROUTE, note="service lost is not known"),)
    )
    return feed


def empty_feed() -> PlayedFeed:
    """A site just made."""
    feed = PlayedFeed(empty_site())
    feed.accounts = Accounts((), 604_800.0)
    feed.services = Services(())
    feed.reservations = Reservations(())
    return feed


def large_feed() -> PlayedFeed:
    """1,000 nodes."""
    feed = PlayedFeed(large_site())
    feed.accounts = large_accounts()
    feed.services = large_services()
    feed.reservations = large_reservations()
    return feed


def hostile_feed() -> PlayedFeed:
    """Every text would act on a terminal, were it sent there as it is."""
    feed = PlayedFeed(filled(SiteView))
    feed.accounts = filled(Accounts)
    feed.services = filled(Services)
    feed.reservations = filled(Reservations)
    feed.explain = filled(ExplainView)
    feed.log = HOSTILE
    feed.host = filled(HostView)
    report = run_report()
    curves = tuple(msgspec.structs.replace(one, name=HOSTILE[:250]) for one in report.curves)
    feed.records = {1: msgspec.structs.replace(report, curves=curves)}
    return feed


def silent_feed() -> PlayedFeed:
    """A node that was never heard, and jobs that have reported nothing."""
    site = busy_site()
    node = msgspec.structs.replace(
        site.nodes[0], state="never heard", gpus=(), tasks=(), heard_ago_s=None, inlet_c=None
    )
    feed = PlayedFeed(msgspec.structs.replace(site, nodes=(node, *site.nodes[1:])))
    feed.host, feed.records = None, {}
    return feed


STATES: dict[str, Callable[[], PlayedFeed]] = {
    "busy": busy_feed,
    "troubled": troubled_feed,
    "empty": empty_feed,
    "hostile": hostile_feed,
    "large": large_feed,
    "silent": silent_feed,
}
