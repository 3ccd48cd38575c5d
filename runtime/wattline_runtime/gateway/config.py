"""How a gateway is set up."""

import msgspec

from wattline_protocol.keys import check_key
from wattline_runtime.wire import MAX_ITEM_BYTES


class GatewayConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Addresses, key and limits. Port 0 takes a free one; see `Endpoints` for which."""

    secret_key: str = ""
    """CURVE secret key of the gateway, z85. Workers believe only its public half."""
    http_host: str = "127.0.0.1"
    """Requests are not authenticated: bind other addresses only inside a trusted network."""
    http_port: int = 0
    worker_host: str = "127.0.0.1"
    """An IP address of this host, or * for all."""
    worker_port: int = 0
    queue_limit: int = 256
    """Requests of one service that may wait; the next is refused with 429 at once."""
    default_timeout_ms: int = 30_000
    max_timeout_ms: int = 600_000
    max_body_bytes: int = MAX_ITEM_BYTES
    """Larger requests are refused with 413. At most `wire.MAX_ITEM_BYTES`."""
    max_inputs: int = 256
    """Inputs in one request."""
    max_connections: int = 4096
    """Open HTTP connections; more get 503."""
    stop_grace_s: float = 3.5
    """After SIGTERM: time for requests inside to be answered. The rest get 503."""

    def __post_init__(self) -> None:
        for name in ("queue_limit", "default_timeout_ms", "max_inputs", "max_connections"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be at least 1")
        if self.max_timeout_ms < self.default_timeout_ms:
            raise ValueError("max_timeout_ms is below default_timeout_ms")
        if not 1 <= self.max_body_bytes <= MAX_ITEM_BYTES:
            raise ValueError(f"max_body_bytes must be from 1 to {MAX_ITEM_BYTES}")
        if self.secret_key:
            check_key(self.secret_key)


class Endpoints(msgspec.Struct, frozen=True):
    """Where a running gateway is reached."""

    http_url: str
    workers: str
    """ZeroMQ endpoint that workers connect to."""
    public_key: str
    """What workers must know it by, z85."""
