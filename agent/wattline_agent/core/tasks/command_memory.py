"""Memory of answered commands, so that a repeat gets the same answer and no second effect (I8)."""

from typing import Generic, TypeVar

from wattline_protocol.ids import Sequence, TaskRef

A = TypeVar("A")

MAX_ANSWERS = 1024
"""More than a scheduler has outstanding to one node; what is older is not obeyed any more."""
MAX_CLOSED = 1024


class Answers(Generic[A]):
    """Answers to commands of one incarnation, by sequence."""

    def __init__(self) -> None:
        self._by_seq: dict[Sequence, A] = {}
        self._forgotten = Sequence(0)
        """Highest sequence whose answer was dropped."""

    def get(self, seq: Sequence) -> A | None:
        """The answer already given."""
        return self._by_seq.get(seq)

    def is_too_old(self, seq: Sequence) -> bool:
        """It may have been obeyed before: the memory no longer says."""
        return seq <= self._forgotten and seq not in self._by_seq

    def put(self, seq: Sequence, answer: A) -> None:
        """Remember an answer."""
        self._by_seq[seq] = answer
        while len(self._by_seq) > MAX_ANSWERS:
            oldest = min(self._by_seq)
            del self._by_seq[oldest]
            self._forgotten = max(self._forgotten, oldest)


class Closed:
    """Attempts of this incarnation that may not be started any more: a late StartTask finds them.

    When one is dropped for room, every order as old as its closing is refused in its place.
    """

    def __init__(self) -> None:
        self._by_ref: dict[TaskRef, Sequence] = {}
        self._forgotten = Sequence(0)

    def put(self, ref: TaskRef, seq: Sequence) -> None:
        """Closed by the command `seq`."""
        self._by_ref[ref] = max(seq, self._by_ref.get(ref, seq))
        while len(self._by_ref) > MAX_CLOSED:
            oldest = next(iter(self._by_ref))
            self._forgotten = max(self._forgotten, self._by_ref.pop(oldest))

    def __contains__(self, ref: TaskRef) -> bool:
        return ref in self._by_ref

    def forbids(self, ref: TaskRef, seq: Sequence) -> bool:
        """An order with this sequence was overtaken by what closed the attempt."""
        closed = self._by_ref.get(ref)
        return seq <= self._forgotten or (closed is not None and seq < closed)
