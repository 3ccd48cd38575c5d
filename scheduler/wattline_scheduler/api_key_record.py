"""The durable form of an API key."""

from typing import ClassVar

import msgspec

from wattline_protocol.ids import UnixTime, UserName
from wattline_protocol.wire.api_keys import PriorityClass


class ApiKeyRecord(msgspec.Struct, frozen=True):
    """An API key of HTTP clients. Its secret is on record nowhere."""

    key: ClassVar[tuple[str, ...]] = ("name",)
    name: str
    digest: str = msgspec.field(name="sha256")
    """Of the secret, in hexadecimal."""
    owner: UserName
    services: tuple[str, ...]
    made_unix_s: UnixTime
    rate_per_s: float = 0.0
    """0 = no limit."""
    burst: int = 0
    expires_unix_s: UnixTime | None = None
    is_by_operator: bool = False
    """It opens its services whoever owns their names."""
    priority: PriorityClass = "normal"
    """The highest class of its requests."""
    tier: str = ""
    revoked_unix_s: UnixTime | None = None
    revoked_by: str = ""
    requests: int = 0
    """As reported by gateways, as the next ones."""
    refused: int = 0
    used_unix_s: UnixTime | None = None
    tokens_per_day: int = 0
    tokens: int = 0
    day_tokens: int = 0
    day_unix_s: UnixTime = UnixTime(0.0)
    """Start of the day that `day_tokens` are of."""
    energy_uj: int = 0
    """Of answers, as reported by gateways."""
    blocked_until_unix_s: UnixTime = UnixTime(0.0)
    """For abuse, as gateway `blocked_by` reported, with the evidence; 0 = it is not blocked."""
    blocked_by: str = ""
    abuse: str = ""
    unblocked_unix_s: UnixTime = UnixTime(0.0)
