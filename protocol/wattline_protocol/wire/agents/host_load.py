"""Load of a host's disk and network, in beats. None = not measured."""

import msgspec

from wattline_protocol.wire.bounds import Amount, Bytes, Ratio, Word


class LinkLoad(msgspec.Struct, frozen=True):
    """The network link of a host that carries most, by the kernel's counters (RDMA passes them)."""

    name: Word[str]
    received_bytes_s: Amount
    sent_bytes_s: Amount
    speed_bytes_s: Amount | None = None
    """In each direction."""


class HostLoad(msgspec.Struct, frozen=True):
    """What a host reports besides processors and memory."""

    disk_bytes: Bytes | None = None
    """Size of the file system in which its tasks run."""
    disk_used_bytes: Bytes | None = None
    """Part of it that tasks cannot write to: used, or reserved for root."""
    disk_busy: Ratio | None = None
    """Share of the time in which the busiest disk works."""
    link: LinkLoad | None = None
