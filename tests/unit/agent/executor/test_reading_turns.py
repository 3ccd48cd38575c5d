"""Reports of many attempts are read in turns, so that programs that write without end delay no
cap."""

from typing import Any, cast

from wattline_agent.executor.attempt import Attempt
from wattline_agent.executor.reading_turns import READING_S, ReadingTurns


class Clock:
    """It continues with what is read."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Program:
    """An attempt whose reports take some time to read, as its own `metrics` and `run`."""

    def __init__(self, name: str, clock: Clock, takes_s: float, read: list[str]) -> None:
        self.name, self.exit, self.metrics, self.run = name, cast("Any", None), self, self
        self._clock, self._takes_s, self._read = clock, takes_s, read

    def poll(self) -> None:
        self._clock.now_s += self._takes_s
        self._read.append(self.name)

    def keep(self) -> None:
        """It has no record."""


def programs(count: int, takes_s: float) -> tuple[ReadingTurns, list[Attempt], list[str]]:
    clock, read = Clock(), list[str]()
    some = [Program(str(number), clock, takes_s, read) for number in range(count)]
    return ReadingTurns(clock), cast("list[Attempt]", some), read


def test_all_are_read_each_time_where_that_is_quick() -> None:
    turns, some, read = programs(256, READING_S / 1_000)
    turns.read(some)
    turns.read(some)
    assert read == [*map(str, range(256))] * 2


def test_those_that_were_not_reached_come_first_the_next_time() -> None:
    turns, some, read = programs(10, READING_S * 0.26)
    for _ in range(5):
        turns.read(some)
    assert read == [*map(str, range(10))] * 2


def test_one_is_read_however_long_it_takes_and_none_that_has_ended() -> None:
    turns, some, read = programs(3, 10 * READING_S)
    turns.read(some)
    cast("Any", some[1]).exit = "exited"
    turns.read(some)
    turns.read(some)
    assert read == ["0", "2", "0"]
