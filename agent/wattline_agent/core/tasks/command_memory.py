"""Record of answered commands, so that a repeat gets the same answer and no second effect (I8)."""

from typing import Generic, TypeVar

from wattline_protocol.ids import Sequence, TaskRef

A = TypeVar("A")

MAX_ANSWERS = 1024
"""More than a scheduler has outstanding to one node; older commands are no longer obeyed."""
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
        """It may have been obeyed before: its answer is no longer recorded."""
        return seq <= self._forgotten and seq not in self._by_seq

    def put(self, seq: Sequence, answer: A) -> None:
        """Record an answer."""
        self._by_seq[seq] = answer
        while len(self._by_seq) > MAX_ANSWERS:
            oldest = min(self._by_seq)
            del self._by_seq[oldest]
            self._forgotten = max(self._forgotten, oldest)


class Closed:
    """Attempts of this incarnation that may not be started any more: rejects a late StartTask.

    When one is dropped for space, every order as old as its closing is refused instead.
    """

    def __init__(self) -> None:
        self._by_ref: dict[TaskRef, Sequence] = {}
        self._forgotten = Sequence(0)

    def put(self, ref: TaskRef, seq: Sequence) -> None:
        """The command `seq` closes the attempt."""
        self._by_ref[ref] = max(seq, self._by_ref.get(ref, seq))
        while len(self._by_ref) > MAX_CLOSED:
            oldest = next(iter(self._by_ref))
            self._forgotten = max(self._forgotten, self._by_ref.pop(oldest))

    def __contains__(self, ref: TaskRef) -> bool:
        return ref in self._by_ref

    def forbids(self, ref: TaskRef, seq: Sequence) -> bool:
        """Whether the command that closed the attempt overtook an order with this sequence."""
        closed = self._by_ref.get(ref)
        return seq <= self._forgotten or (closed is not None and seq < closed)
