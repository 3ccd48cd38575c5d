"""An act to be confirmed: a question that names objects and effect, and its requests."""

from dataclasses import dataclass, replace

import msgspec

from wattline_protocol.wire.client_messages import Request

NO_REASON = "from top"
"""Recorded where none is typed."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A question, and the requests that a yes sends."""

    question: str
    requests: tuple[Request, ...]

    @property
    def has_reason(self) -> bool:
        """Whether its requests record one."""
        return any("reason" in one.__struct_fields__ for one in self.requests)

    def because(self, reason: str) -> "Proposal":
        """The same with a reason."""
        requests = tuple(
            msgspec.structs.replace(one, reason=reason or NO_REASON)
            if "reason" in one.__struct_fields__
            else one
            for one in self.requests
        )
        return replace(self, requests=requests)
