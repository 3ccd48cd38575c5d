"""Acts on API keys."""

from wattline import exits
from wattline.client import Client
from wattline.client.api_keys import NewApiKey
from wattline.client.errors import NotFound
from wattline.failures import ActFailed
from wattline.show.screen import put_error
from wattline_protocol.text.quantities import parse_count, parse_rate_per_s
from wattline_protocol.text.wording import listed
from wattline_protocol.wire.api_keys import ApiKeyView, PriorityClass

MAX_NAMED = 10


def add(
    client: Client,
    *,
    name: str,
    service: tuple[str, ...],
    rate: str | None,
    burst: int | None,
    tokens_per_day: str | None,
    expires: float | None,
    priority: PriorityClass,
    tier: str | None,
    as_json: bool,
) -> NewApiKey:
    """Make a key. Beside it, what it opens is shown on stderr, so that a script reads the key."""
    try:
        rate_per_s = parse_rate_per_s(rate) if rate else 0.0
    except ValueError as error:
        raise ActFailed(f"--rate {rate}: {error}", exits.USAGE) from error
    try:
        tokens = parse_count(tokens_per_day) if tokens_per_day else 0
    except ValueError as error:
        text = f"--tokens-per-day {tokens_per_day}: {error}"
        raise ActFailed(text, exits.USAGE) from error
    if burst is not None and burst < 1:
        raise ActFailed(f"--burst {burst}: expected at least 1", exits.USAGE)
    if expires is not None and expires <= 0:
        raise ActFailed("--expires: expected a duration above 0", exits.USAGE)
    services = [word for value in service for word in value.split(",") if word]
    made = client.add_api_key(
        name,
        services,
        rate_per_s=rate_per_s,
        burst=burst or 0,
        valid_s=expires or 0.0,
        priority=priority,
        tokens_per_day=tokens,
        tier=tier or "",
    )
    if not as_json:
        put_error(f"{made.text}; the key is shown only now:")
    return made


def keys(client: Client) -> tuple[ApiKeyView, ...]:
    """Keys that are not revoked."""
    return client.api_keys()


def usage(client: Client, *, name: str | None) -> tuple[ApiKeyView, ...]:
    """Keys with their use: all, or one."""
    found = client.api_keys()
    if name is None:
        return found
    named = tuple(key for key in found if key.name == name)
    if not named:
        known = listed([key.name for key in found], MAX_NAMED) or "none"
        raise NotFound(f"there is no API key {name!r} of yours; you have {known}")
    return named


def revoke(client: Client, *, name: str) -> str:
    """Revoke a key."""
    return client.revoke_api_key(name)


def unblock(client: Client, *, name: str) -> str:
    """Lift the block of a key."""
    return client.unblock_api_key(name)
