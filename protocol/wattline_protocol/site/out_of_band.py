"""The way to a host that does not go through its agent: what switches it off and confirms it.

Declared in the site file (`siteoutofband` reads the keys), used by the scheduler's shell. As with
sensors, a struct never holds a secret, only the file of one.
"""

import msgspec

from wattline_protocol.site.sensing import Access

USUAL_OFF_TIMEOUT_S = 30.0
"""A BMC answers within a second or two and reports "Off" some seconds after it was asked."""

MAX_OFF_TIMEOUT_S = 120.0
"""An operator who waits for the answer waits no longer, and a little."""


class OffByCommand(msgspec.Struct, frozen=True, tag_field="by", tag="command"):
    """Programs, run without a shell."""

    status: tuple[str, ...]
    """Prints whether the host is off: "off" or "on", or as `ipmitool chassis power status` does."""
    off: tuple[str, ...] = ()
    """Cuts its power; empty: it can only be asked."""


class OffByRedfish(msgspec.Struct, frozen=True, tag_field="by", tag="redfish"):
    """A ComputerSystem of a Redfish service: its Reset action, and its PowerState."""

    url: str
    access: Access = Access()


class OutOfBand(msgspec.Struct, frozen=True):
    """How one host is switched off, or seen to be off, without its agent."""

    way: OffByCommand | OffByRedfish
    timeout_s: float = USUAL_OFF_TIMEOUT_S
    """Within this it must be confirmed off, or the try has failed."""
    is_automatic: bool = True
    """Used where a lowered budget is not met otherwise; False: only when an operator says so."""

    @property
    def can_switch_off(self) -> bool:
        """Whether it can do more than tell."""
        return not isinstance(self.way, OffByCommand) or bool(self.way.off)
