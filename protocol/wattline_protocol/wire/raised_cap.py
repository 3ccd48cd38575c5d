"""Power caps raised externally, as reported by an agent."""

import msgspec

from wattline_protocol.ids import GpuIndex, TaskRef
from wattline_protocol.wire.bounds import Few, Index, Milliwatts


class RaisedCap(msgspec.Struct, frozen=True):
    """A GPU whose cap is raised externally again and again: it counts at its maximum (I2)."""

    index: Index[GpuIndex]
    limit_mw: Milliwatts
    """The highest limit found."""
    set_mw: Milliwatts
    """The cap the agent had set."""
    culprits: Few[TaskRef] = ()
    """Tasks on it with the rights to do it: they are frozen and killed."""
    elsewhere: Few[TaskRef] = ()
    """Tasks on other GPUs of the host with these rights; they are left alone."""
