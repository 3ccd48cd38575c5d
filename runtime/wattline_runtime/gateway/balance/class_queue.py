"""Queue of the requests of a service by priority class: urgent before normal before batch.

Theory. Classes are strict: what waits is sent in order of class, and within a class by arrival.
None waits for ever, since every request has a deadline: it is answered or refused by then.
Admission counts what would be sent before a request, so an urgent one is admitted while batch ones
wait; batch requests are admitted with twice the time that they are expected to need, since later
ones of other classes go before them. A full queue refuses its newest request of the lowest class
rather than a better one. What a worker has already is not reordered.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

from wattline_runtime.gateway.events import PRIORITIES, Queued

Q = TypeVar("Q", bound=Queued)


class ClassQueue(Generic[Q]):
    """Requests by number, in the order in which they are sent."""

    __slots__ = ("_classes",)

    def __init__(self) -> None:
        self._classes: list[OrderedDict[int, Q]] = [OrderedDict() for _ in PRIORITIES]

    def __bool__(self) -> bool:
        first, second, third = self._classes
        return bool(first or second or third)

    def __len__(self) -> int:
        first, second, third = self._classes
        return len(first) + len(second) + len(third)

    def __iter__(self) -> Iterator[int]:
        for requests in self._classes:
            yield from requests

    def values(self) -> Iterator[Q]:
        """The requests, in order."""
        for requests in self._classes:
            yield from requests.values()

    def first(self) -> Q | None:
        """The next one to be sent."""
        return next(self.values(), None)

    def ahead(self, rank: int) -> int:
        """How many are sent before a new one of this class."""
        return sum(map(len, self._classes[: rank + 1])) if self else 0

    def add(self, request: Q) -> None:
        """As the last one of its class."""
        self._classes[request.kind.rank][request.id] = request

    def add_first(self, request: Q) -> None:
        """As the first one of its class."""
        requests = self._classes[request.kind.rank]
        requests[request.id] = request
        requests.move_to_end(request.id, last=False)

    def remove(self, request: Q) -> None:
        """No error where it is not here."""
        self._classes[request.kind.rank].pop(request.id, None)

    def newest_below(self, rank: int) -> Q | None:
        """The newest request of the lowest class, if that is below this one."""
        for one in range(len(PRIORITIES) - 1, rank, -1):
            if self._classes[one]:
                return next(reversed(self._classes[one].values()))
        return None

    def clear(self) -> None:
        """Remove all."""
        for requests in self._classes:
            requests.clear()
