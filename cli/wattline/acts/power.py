"""Acts on power domains and their budgets."""

import shlex

import msgspec

from wattline import exits
from wattline.client import Client
from wattline.failures import ActFailed
from wattline.verbs.values import shed_amount
from wattline_protocol.views.power_views import PowerOutlook
from wattline_protocol.views.site_views import DomainView, LimitView, WhyView


def power(client: Client) -> tuple[DomainView, ...]:
    """All domains and zones."""
    return client.power()


def limits(client: Client) -> tuple[LimitView, ...]:
    """Everything that lowers a budget now or later, by start."""
    return tuple(sorted(client.limits(), key=lambda limit: limit.start_unix_s))


class NodeWhy(msgspec.Struct, frozen=True):
    """Why a node has its watts, with the domain that binds it."""

    why: WhyView
    domain: DomainView | None


def why(client: Client, *, node: str) -> NodeWhy:
    """Query the node, and the limits of its binding domain."""
    view = client.why(node)
    domains = client.power() if view.binding is not None else ()
    return NodeWhy(view, next((d for d in domains if d.id == view.binding), None))


def whatif(client: Client, *, domain: str, less: str | None, fails: bool) -> PowerOutlook:
    """What would happen with fewer watts."""
    if (less is None) != fails:
        whatif = f"`wattline power whatif {shlex.quote(domain)}"
        right = f"{whatif} --less {less or '25%'}` or {whatif} --fails`"
        raise ActFailed(f"expected one of --less AMOUNT and --fails: {right}", exits.USAGE)
    fraction, by_mw = (0.0, 0) if less is None else _amount(less)
    return client.power_outlook(domain, fraction=fraction, by_mw=by_mw, fails=fails)


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
        raise ActFailed(str(error), exits.USAGE) from error


def restore(client: Client, *, domain: str | None, ramp_s: float | None, reason: str) -> str:
    """End the shed of a domain."""
    return client.restore(domain=domain, reason=reason, ramp_s=ramp_s or 0.0)
