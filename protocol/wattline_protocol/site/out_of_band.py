"""Out-of-band power control of a host: powers it off and confirms it without its agent.

Declared in the site file (`out_of_band_keys` reads the keys), used by the scheduler's shell. As
with sensors, a struct never contains a secret, only the name of its file.
"""

import msgspec

from wattline_protocol.site.sensing import Access

USUAL_OFF_TIMEOUT_S = 30.0
"""A BMC answers within a second or two and reports "Off" some seconds after the request."""

MAX_OFF_TIMEOUT_S = 120.0
"""Largest time-out in a site file; an operator's request waits for this and a margin."""


class OffByCommand(msgspec.Struct, frozen=True, tag_field="by", tag="command"):
    """Programs, run without a shell."""

    status: tuple[str, ...]
    """Prints whether the host is off: "off" or "on", or as `ipmitool chassis power status` does."""
    off: tuple[str, ...] = ()
    """Powers it off; empty: only its status can be queried."""


class OffByRedfish(msgspec.Struct, frozen=True, tag_field="by", tag="redfish"):
    """A ComputerSystem of a Redfish service: its Reset action, and its PowerState."""

    url: str
    access: Access = Access()


class OutOfBand(msgspec.Struct, frozen=True):
    """How one host is powered off, or confirmed off, without its agent."""

    method: OffByCommand | OffByRedfish
    timeout_s: float = USUAL_OFF_TIMEOUT_S
    """It must be confirmed off within this, or the try has failed."""
    is_automatic: bool = True
    """Used where a lowered budget is not met otherwise; False: only on an operator's request."""

    @property
    def can_switch_off(self) -> bool:
        """Whether it can power the host off, not only query it."""
        return not isinstance(self.method, OffByCommand) or bool(self.method.off)
