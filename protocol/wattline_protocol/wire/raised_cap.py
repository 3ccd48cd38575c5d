"""Power caps that others raise, as an agent tells of them."""

import msgspec

from wattline_protocol.ids import GpuIndex, TaskRef
from wattline_protocol.wire.bounds import Few, Index, Milliwatts


class RaisedCap(msgspec.Struct, frozen=True):
    """A GPU whose cap others raise again and again: it counts at its maximum (I2)."""

    index: Index[GpuIndex]
    limit_mw: Milliwatts
    """The highest limit that was found."""
    set_mw: Milliwatts
    """What the agent had set."""
    culprits: Few[TaskRef] = ()
    """Tasks on it that had the rights to do it: they are frozen and killed."""
    elsewhere: Few[TaskRef] = ()
    """Tasks on other GPUs of the host that had them; nothing is done about these."""
