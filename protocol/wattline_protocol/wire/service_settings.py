"""Settings of a service for gateways."""

import msgspec


class ServiceSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of the newest job of the service: see `ServiceSpec`."""

    cache_ttl_s: float = 0.0
    cache_bytes: int = 0
    """0: no answers are kept."""
    fallback: tuple[str, ...] = ()
    """Without services that the owner of this one may not use."""
    log_share: float = 0.0
    """Of the requests, whose bodies are logged."""
    log_blank: tuple[str, ...] = ()
    """Patterns to blank in them."""
    log_retention_s: float = 0.0


NO_SETTINGS = ServiceSettings()
