"""Acts on power domains and their budgets."""

import time
from collections.abc import Iterator

import msgspec

from wattline.client import Client, Unreachable
from wattline.failures import ActFailed
from wattline.verbs.values import shed_amount
from wattline_protocol.views.site_views import DomainView, WhyView

WATCH_PERIOD_S = 1.0


class PowerNow(msgspec.Struct, frozen=True):
    """All domains at one point in time of a watch."""

    unix_s: float
    domains: tuple[DomainView, ...]
    trouble: str = ""
    """Why these are not current; empty = they are."""


def power(client: Client, *, watch: bool) -> tuple[DomainView, ...] | Iterator[PowerNow]:
    """All domains and zones, once or every second."""
    return _watched(client) if watch else client.power()


def _watched(client: Client) -> Iterator[PowerNow]:
    """Continues while the scheduler is unreachable, with the last domains and the reason."""
    seen = PowerNow(time.time(), client.power())
    while True:
        yield seen
        time.sleep(WATCH_PERIOD_S - time.time() % WATCH_PERIOD_S)
        try:
            seen = PowerNow(time.time(), client.power())
        except Unreachable as away:
            seen = msgspec.structs.replace(seen, trouble=str(away))


class NodeWhy(msgspec.Struct, frozen=True):
    """Why a node has its watts, with the domain that binds it."""

    why: WhyView
    domain: DomainView | None


def why(client: Client, *, node: str) -> NodeWhy:
    """Query the node, and the limits of its binding domain."""
    view = client.why(node)
    domains = client.power() if view.binding is not None else ()
    return NodeWhy(view, next((d for d in domains if d.id == view.binding), None))


def shed(
    client: Client,
    *,
    amount: str,
    domain: str | None,
    for_s: float | None,
    ramp_s: float | None,
    release_s: float | None,
    reason: str,
) -> str:
    """Lower a budget."""
    fraction, by_mw = _amount(amount)
    return client.shed(
        fraction=fraction,
        by_mw=by_mw,
        domain=domain,
        for_s=for_s or 0.0,
        reason=reason,
        ramp_s=ramp_s or 0.0,
        release_s=release_s or 0.0,
    )


def _amount(text: str) -> tuple[float, int]:
    try:
        return shed_amount(text)
    except ValueError as error:
        raise ActFailed(str(error), status=2) from error


def restore(client: Client, *, domain: str | None, ramp_s: float | None, reason: str) -> str:
    """End the shed of a domain."""
    return client.restore(domain=domain, reason=reason, ramp_s=ramp_s or 0.0)
