"""Sorted sets of numbers: the ready gangs of a job. An array has thousands, and each plan needs the
first few."""

from bisect import bisect_left
from collections.abc import Iterator


class SortedNumbers:
    """A sorted set of whole numbers; insertion and removal shift a short list."""

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        self._numbers: list[int] = []

    def add(self, number: int) -> None:
        """Inserts a number, if it is absent."""
        numbers = self._numbers
        if not numbers or number > numbers[-1]:
            numbers.append(number)
            return
        at = bisect_left(numbers, number)
        if numbers[at] != number:
            numbers.insert(at, number)

    def discard(self, number: int) -> None:
        """Removes a number, if it is present."""
        at = bisect_left(self._numbers, number)
        if at < len(self._numbers) and self._numbers[at] == number:
            del self._numbers[at]

    def first(self, count: int) -> tuple[int, ...]:
        """The `count` smallest numbers, or all of them."""
        return tuple(self._numbers[:count])

    def since(self, number: int) -> list[int]:
        """The numbers from this one on."""
        return self._numbers[bisect_left(self._numbers, number) :]

    def __contains__(self, number: int) -> bool:
        at = bisect_left(self._numbers, number)
        return at < len(self._numbers) and self._numbers[at] == number

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)
