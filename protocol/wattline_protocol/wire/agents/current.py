"""What messages between the scheduler and an adopted agent have in common."""

import msgspec

from wattline_protocol.ids import Epoch, Incarnation, Sequence, TaskRef
from wattline_protocol.wire.bounds import Serial


class Current(msgspec.Struct, frozen=True, tag_field="t"):
    """A message between one epoch of the scheduler and one incarnation of the agent (I8)."""

    epoch: Serial[Epoch]
    incarnation: Serial[Incarnation]


class Numbered(Current, frozen=True):
    """A command or its answer, by the command's number."""

    seq: Serial[Sequence]


class TaskMessage(Numbered, frozen=True):
    """A command about one attempt."""

    ref: TaskRef
