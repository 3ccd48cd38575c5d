"""Questions that take long to answer: one a step of the loop; beats and leases come between.

Each is answered from the state of its step, so all that one answer says is of the same moment.
"""

from collections import deque
from typing import NamedTuple

from wattline_protocol.ids import Now, UserName
from wattline_protocol.requests import Denied, Explain, WhatIf
from wattline_scheduler.core.effects import Reply
from wattline_scheduler.shell.reads import Reads

MAX_WAITING = 256
"""Questions not answered yet; each takes up to a tenth of a second, on large sites a quarter."""


class _Asked(NamedTuple):
    client: bytes
    ask: int
    user: UserName
    request: Explain | WhatIf


class QuestionDesk:
    """Questions that wait, in the order in which they came."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._asked: deque[_Asked] = deque()

    def __len__(self) -> int:
        return len(self._asked)

    def put(
        self, client: bytes, ask: int, user: UserName, request: Explain | WhatIf
    ) -> list[Reply]:
        """Take in a question; an answer only where it is refused."""
        if len(self._asked) >= MAX_WAITING:
            text = f"{MAX_WAITING} questions wait for their answers; try again"
            return [Reply(client, ask, Denied("busy", text))]
        self._asked.append(_Asked(client, ask, user, request))
        return []

    def answer_next(self, now: Now) -> list[Reply]:
        """The answer of the one that waits longest. Raises StoreError."""
        if not self._asked:
            return []
        client, ask, user, request = self._asked.popleft()
        if isinstance(request, Explain):
            return [Reply(client, ask, self._reads.explain(request.job, now))]
        return [Reply(client, ask, self._reads.what_if(user, request, now))]
