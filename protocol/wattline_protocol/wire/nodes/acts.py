"""Acts on nodes: cordon and uncordon of one GPU, readmission."""

import msgspec

from wattline_protocol.ids import NodeId
from wattline_protocol.wire.bounds import Line, Name


class Cordon(msgspec.Struct, frozen=True, tag_field="t", tag="cordon"):
    """Mark a GPU unschedulable. Work on it continues."""

    node: Name[NodeId]
    gpu: Name[str]
    """Index or UUID."""
    reason: Line = ""


class Uncordon(msgspec.Struct, frozen=True, tag_field="t", tag="uncordon"):
    """Mark the GPU schedulable again."""

    node: Name[NodeId]
    gpu: Name[str]
    """Index or UUID; the UUID if the node no longer lists it."""


class Readmit(msgspec.Struct, frozen=True, tag_field="t", tag="readmit"):
    """Trust a quarantined node's agent again, from its next Hello on (I9)."""

    node: Name[NodeId]
    reason: Line = ""


NodeAct = Cordon | Uncordon | Readmit
