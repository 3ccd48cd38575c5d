"""Acts on reservations."""

from collections.abc import Iterable

from wattline import exits
from wattline.client import Client
from wattline.failures import ActFailed
from wattline_protocol.site.labels import labels
from wattline_protocol.wire.reservations import ReservationView


def reserve(
    client: Client,
    *,
    name: str,
    nodes: tuple[str, ...],
    label: tuple[str, ...],
    gpu_type: tuple[str, ...],
    count: int | None,
    gpus: int | None,
    start: str | None,
    until: str | None,
    for_s: float | None,
    account: tuple[str, ...],
    user: tuple[str, ...],
    maintenance: bool,
    reason: str,
) -> str:
    """Reserve nodes for a time range."""
    return client.reserve(
        name,
        until=until or "",
        for_s=for_s or 0.0,
        start=start or "",
        nodes=_words(nodes),
        labels=_labels(label),
        gpu_type=_words(gpu_type),
        count=_some("--count", count),
        gpus=_some("--gpus", gpus),
        accounts=_words(account),
        users=_words(user),
        maintenance=maintenance,
        reason=reason,
    )


def _words(values: Iterable[str]) -> list[str]:
    """Each may be a list: `a1,a2`."""
    return [word for value in values for word in value.split(",") if word]


def _labels(pairs: Iterable[str]) -> dict[str, str]:
    try:
        split = [pair.split("=", 1) for pair in pairs]
        if any(len(parts) < 2 for parts in split):
            raise ValueError("expected NAME=VALUE, as in --label fabric=ib")
        return labels(dict(split))
    except ValueError as error:
        raise ActFailed(str(error), exits.USAGE) from error


def _some(flag: str, number: int | None) -> int:
    if number is not None and number < 1:
        raise ActFailed(f"{flag} {number}: expected at least 1", exits.USAGE)
    return number or 0


def reservations(client: Client) -> tuple[ReservationView, ...]:
    """Reservations that are not over, by their beginning."""
    return client.reservations()


def unreserve(client: Client, *, name: str, reason: str) -> str:
    """Cancel a reservation."""
    return client.unreserve(name, reason)
