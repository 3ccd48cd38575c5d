"""Configuration of a gateway."""

from importlib.util import find_spec
from ipaddress import ip_address
from math import inf

import msgspec

from wattline_protocol.http.limits import HttpLimits, networks
from wattline_protocol.site.model import CONNECTIONS_PER_ADDRESS, HOLD_S, KEYS_VALID_S, Abuse
from wattline_protocol.trust.keys import check_key
from wattline_protocol.wire.rollouts import MAX_PROCESSES
from wattline_runtime.wire import MAX_ITEM_BYTES

RETENTION_S = 30 * 86_400.0
BATCH_RETENTION_S = 7 * 86_400.0

KEEP_ALIVE_S = 60
"""An idle connection of a client is closed after so long."""


class GatewayConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Addresses, key and limits. Port 0 takes a free one; see `Endpoints` for which."""

    secret_key: str = ""
    """CURVE secret key of the gateway, z85. Workers trust only its public half."""
    http_host: str = "127.0.0.1"
    """An address other than loopback needs TLS, unless `open` or `insecure`."""
    http_port: int = 0
    worker_host: str = "127.0.0.1"
    """An IP address of this host, or * for all."""
    worker_port: int = 0
    queue_limit: int = 256
    """Maximum of queued requests of one service; the next is refused with 429 at once."""
    default_timeout_ms: int = 30_000
    max_timeout_ms: int = 600_000
    max_body_bytes: int = MAX_ITEM_BYTES
    """Larger requests are refused with 413. At most `wire.MAX_ITEM_BYTES`."""
    max_inputs: int = 256
    """Inputs in one request."""
    max_connections: int = 4096
    """Open HTTP connections; more get 503."""
    connections_per_address: int = CONNECTIONS_PER_ADDRESS
    """Open connections of one client, or requests behind a trusted proxy; more get 503."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks of proxies whose X-Forwarded-For names the client."""
    max_header_bytes: int = 32 * 1024
    """Request line and headers; longer ones get 431."""
    client_timeout_s: float = 10.0
    """For the headers of a request, and for a body or an answer that moves too slowly."""
    takeover: bool = False
    """Replace the gateway that serves at the HTTP address, if any, without a gap."""
    hold_s: float = HOLD_S
    """While a service has no ready worker: how long its requests wait for one, at most."""
    tls_cert: str = ""
    """Certificate chain for HTTPS, a PEM file; empty: plain HTTP."""
    tls_key: str = ""
    insecure: bool = False
    """Accept API keys over plain HTTP on any address."""
    processes: int = 1
    """Processes that serve; more than one have a parent that restarts them."""
    access_log: str = ""
    """File that gets a line for each request; empty: none."""
    body_log: str = ""
    """Folder for bodies of services that want some logged; empty: none are."""
    otlp: str = ""
    """URL of a collector of OpenTelemetry that gets a span for each request; empty: none."""
    log_retention_s: float = RETENTION_S
    """How long lines of the access log are kept."""
    abuse: Abuse | None = None
    """Limits of clients; None: none is slowed or blocked."""
    batch_dir: str = ""
    """Directory of batches; empty: there are none."""
    batch_retention_s: float = BATCH_RETENTION_S
    """How long batches that have ended are kept."""
    batch_reserve_bytes: int = 256 * 1024**2
    """Free space that new batches leave for results of accepted ones."""
    json_logs: bool = False
    """Of its processes, where it has several."""
    open: bool = False
    """Accept requests without an API key."""
    keys_valid_s: float = KEYS_VALID_S
    """How long API keys are accepted without news of the scheduler."""
    cache_bytes: int = 1024**3
    """Kept answers of all services together; beyond, the largest caches shrink."""
    stop_grace_s: float = 3.5
    """After SIGTERM: time to answer admitted requests. The rest get 503."""

    def __post_init__(self) -> None:
        for name in (
            "queue_limit",
            "processes",
            "default_timeout_ms",
            "max_inputs",
            "max_connections",
            "connections_per_address",
            "max_header_bytes",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be at least 1")
        if self.max_timeout_ms < self.default_timeout_ms:
            raise ValueError("max_timeout_ms is below default_timeout_ms")
        if not 1 <= self.max_body_bytes <= MAX_ITEM_BYTES:
            raise ValueError(f"max_body_bytes must be from 1 to {MAX_ITEM_BYTES}")
        if self.processes > MAX_PROCESSES:
            raise ValueError(f"processes is {self.processes}, it must be at most {MAX_PROCESSES}")
        if self.log_retention_s <= 0:
            raise ValueError(f"log_retention_s is {self.log_retention_s}, it must be above 0")
        if self.batch_retention_s <= 0 or self.batch_reserve_bytes < 0:
            raise ValueError("batch_retention_s must be above 0, batch_reserve_bytes 0 or more")
        if self.otlp and not self.otlp.startswith(("http://", "https://")):
            text = "is no URL, as in http://127.0.0.1:4318/v1/traces"
            raise ValueError(f"the collector {self.otlp!r} {text}")
        if self.otlp and find_spec("opentelemetry") is None:
            raise ValueError("spans need the extra otel: pip install 'wattline[otel]'")
        if self.client_timeout_s <= 0:
            raise ValueError(f"client_timeout_s is {self.client_timeout_s}, it must be above 0")
        if not 0 <= self.hold_s < inf:
            raise ValueError(f"hold_s is {self.hold_s}, it must be 0 or more")
        if self.keys_valid_s <= 0:
            raise ValueError(f"keys_valid_s is {self.keys_valid_s}, it must be above 0")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("tls_cert and tls_key belong together")
        if not (self.tls_cert or self.open or self.insecure or is_loopback(self.http_host)):
            raise ValueError(
                f"API keys would cross the network in plain HTTP to {self.http_host}: give "
                "tls_cert and tls_key, serve on 127.0.0.1 behind a proxy, or set insecure = true"
            )
        networks(self.trusted_proxies)
        if self.secret_key:
            check_key(self.secret_key)

    @property
    def limits(self) -> HttpLimits:
        """Limits of a client before its request is parsed."""
        return HttpLimits(
            head_bytes=self.max_header_bytes,
            head_s=self.client_timeout_s,
            body_bytes=self.max_body_bytes,
            body_s=self.client_timeout_s,
            unread_s=self.client_timeout_s,
            idle_s=KEEP_ALIVE_S,
            connections=self.max_connections,
            connections_per_address=self.connections_per_address,
        )


def is_loopback(host: str) -> bool:
    """Whether only this host's own processes can connect to `host`."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Endpoints(msgspec.Struct, frozen=True):
    """Addresses of a running gateway."""

    http_url: str
    workers: str
    """ZeroMQ endpoint that workers connect to."""
    public_key: str
    """Its public key for workers, z85."""
