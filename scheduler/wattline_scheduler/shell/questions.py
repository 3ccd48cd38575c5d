"""Questions that take long to answer: a few milliseconds of one a step of the loop.

Beats, leases, starts and other requests come between. Each is answered as things stand when its
turn comes, in parts, and all that one answer says is of that moment (see `core.still`).
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from wattline_protocol.ids import Now
from wattline_protocol.requests import Denied, Explain, Explained, WhatIf
from wattline_scheduler.core.effects import Reply
from wattline_scheduler.core.selecting import Asker
from wattline_scheduler.plan.parts import Parts
from wattline_scheduler.shell.reads import Reads

MAX_WAITING = 256
"""Questions not answered yet; each takes up to a tenth of a second, half a one on large sites."""

TURN_S = 0.005
"""So long a step goes on with a question; the part in which that is over is ended."""


class _Asked(NamedTuple):
    client: bytes
    ask: int
    asker: Asker
    request: Explain | WhatIf


class QuestionDesk:
    """Questions that wait, in the order in which they came. `is_there`: whether a client is."""

    def __init__(
        self, reads: Reads, clock: Callable[[], Now], is_there: Callable[[bytes], bool]
    ) -> None:
        self._reads, self._clock, self._is_there = reads, clock, is_there
        self._asked: deque[_Asked] = deque()
        self._answer: Parts[Explained | Denied] | None = None
        """To the first of them; None = it was not begun."""

    def __len__(self) -> int:
        return len(self._asked)

    def put(self, client: bytes, ask: int, asker: Asker, request: Explain | WhatIf) -> list[Reply]:
        """Take in a question; an answer only where it is refused."""
        if len(self._asked) >= MAX_WAITING:
            text = f"{MAX_WAITING} questions wait for their answers; try again"
            return [Reply(client, ask, Denied("busy", text))]
        self._asked.append(_Asked(client, ask, asker, request))
        return []

    def take_turn(self) -> list[Reply]:
        """Go on with the question that waits longest, and its answer where that is found. Questions
        of clients that are gone are dropped. Raises StoreError."""
        while self._asked and not self._is_there(self._asked[0].client):
            self._take_first()
        if not self._asked:
            return []
        began = self._clock()
        if self._answer is None:
            self._answer = self._begin(self._asked[0], began)
        try:
            next(self._answer)
            while self._clock().mono_s < began.mono_s + TURN_S:
                next(self._answer)
        except StopIteration as found:
            first = self._take_first()
            return [Reply(first.client, first.ask, found.value)]
        return []

    def _begin(self, asked: _Asked, now: Now) -> Parts[Explained | Denied]:
        if isinstance(asked.request, Explain):
            return self._reads.explain(asked.request.job, now)
        return self._reads.what_if(asked.asker, asked.request, now)

    def _take_first(self) -> _Asked:
        if self._answer is not None:
            self._answer.close()
            self._answer = None
        return self._asked.popleft()
