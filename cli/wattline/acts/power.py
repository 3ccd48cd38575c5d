"""Acts on power domains."""

from wattline.client import Client
from wattline.failures import ActFailed
from wattline.verbs.values import shed_amount
from wattline_protocol.views import DomainView


def power(client: Client) -> tuple[DomainView, ...]:
    """All domains and zones."""
    return client.power()


def shed(
    client: Client, *, amount: str, domain: str | None, for_s: float | None, reason: str
) -> str:
    """Lower a budget."""
    try:
        fraction, by_mw = shed_amount(amount)
    except ValueError as error:
        raise ActFailed(str(error), status=2) from error
    return client.shed(
        fraction=fraction, by_mw=by_mw, domain=domain, for_s=for_s or 0.0, reason=reason
    )


def restore(client: Client, *, domain: str | None, reason: str) -> str:
    """Put the full budget back."""
    return client.restore(domain=domain, reason=reason)
