"""Puts answers that come in any order back into the order of their inputs. No I/O."""

from typing import Generic, TypeVar

T = TypeVar("T")


class InOrder(Generic[T]):
    """Answers by number; each is taken once all before it have been."""

    def __init__(self, first: int) -> None:
        """`first`: number of the answer that is taken first."""
        self.next = first
        """Number of the next answer that is taken."""
        self._early: dict[int, T] = {}

    def put(self, number: int, answer: T) -> None:
        """Add an answer. Raises ValueError for one that was added before."""
        if number < self.next or number in self._early:
            raise ValueError(f"answer {number} comes a second time")
        self._early[number] = answer

    @property
    def has_next(self) -> bool:
        """Whether any can be taken."""
        return self.next in self._early

    def take(self) -> list[T]:
        """The answers that are next, all of them without a gap."""
        taken: list[T] = []
        while self.next in self._early:
            taken.append(self._early.pop(self.next))
            self.next += 1
        return taken
