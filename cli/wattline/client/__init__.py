"""The Python client: all requests of scripts, CLI, TUI and gateway to a scheduler."""

from wattline.client.client import Client
from wattline.client.errors import (
    BadRequest,
    BundleError,
    Busy,
    Conflict,
    Impossible,
    NotAllowed,
    NotFound,
    Refused,
    RequestDenied,
    Unavailable,
    Unreachable,
    WaitTimeout,
    WattlineError,
)
from wattline.client.jobacts import selection

__all__ = [
    "BadRequest",
    "BundleError",
    "Busy",
    "Client",
    "Conflict",
    "Impossible",
    "NotAllowed",
    "NotFound",
    "Refused",
    "RequestDenied",
    "Unavailable",
    "Unreachable",
    "WaitTimeout",
    "WattlineError",
    "selection",
]
