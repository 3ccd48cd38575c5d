"""Site file keys for the limits of abuse at gateways: the table [abuse]."""

from typing import Any

from wattline_protocol.site import values as v
from wattline_protocol.site.model import Abuse
from wattline_protocol.text.quantities import format_duration, parse_percent
from wattline_protocol.text.toml_fields import Fields, flag, number, quantity, whole

SHARES = ("refused", "failed", "repeated", "oversize")
MAX_REQUESTS = 1_000_000
MIN_BLOCK_S, MAX_BLOCK_S = 10.0, 86_400.0


def _share(value: object) -> float:
    """A share above 0: none at all would be abuse by everybody."""
    share = quantity(parse_percent)(value) if isinstance(value, str) else number(0, 1)(value)
    if not share:
        raise ValueError('expected a share above 0 such as "50%"')
    return share


def abuse(top: Fields) -> Abuse:
    """The table."""
    fields, usual = top.table("abuse"), Abuse()
    read = Abuse(
        enabled=fields.take("enabled", flag, usual.enabled),
        requests=fields.take("requests", whole(10, MAX_REQUESTS), usual.requests),
        **{key: fields.take(key, _share, getattr(usual, key)) for key in SHARES},
        block_s=fields.take("block", v.seconds(MIN_BLOCK_S, MAX_BLOCK_S), usual.block_s),
    )
    fields.end()
    return read


def abuse_keys(of: Abuse) -> dict[str, Any]:
    """The table, for `abuse`."""
    shares = {key: getattr(of, key) for key in SHARES}
    block = format_duration(of.block_s)
    return {"enabled": of.enabled, "requests": of.requests, **shares, "block": block}
