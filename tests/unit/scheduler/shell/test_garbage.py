"""What lives is frozen each second; what has died frozen is found by the hourly sweep."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from wattline_protocol.ids import Instant
from wattline_scheduler.shell.garbage import SETTLE_PERIOD_S, SWEEP_PERIOD_S, GarbageCollection


class Ring:
    """References itself, so that only a collection frees it."""

    def __init__(self) -> None:
        self.own = self


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_lives_is_frozen_once_a_second() -> None:
    garbage = GarbageCollection(Instant(0.0))
    gc.unfreeze()
    garbage.tick(Instant(0.0))
    frozen = gc.get_freeze_count()
    assert frozen > 0
    kept = [Ring() for _ in range(100)]
    garbage.tick(Instant(SETTLE_PERIOD_S / 2))
    assert gc.get_freeze_count() <= frozen
    garbage.tick(Instant(SETTLE_PERIOD_S))
    assert gc.get_freeze_count() >= frozen + len(kept)


def test_what_died_frozen_is_freed_by_the_sweep() -> None:
    garbage = GarbageCollection(Instant(0.0))
    ring = Ring()
    seen = weakref.ref(ring)
    garbage.tick(Instant(0.0))
    del ring
    garbage.tick(Instant(SWEEP_PERIOD_S / 2))
    gc.collect()
    assert seen() is not None, "frozen: no collection finds it"
    garbage.tick(Instant(SWEEP_PERIOD_S))
    assert seen() is None


def test_what_died_young_is_freed_before_the_freeze() -> None:
    """Frozen garbage would stay for an hour."""
    garbage = GarbageCollection(Instant(0.0))
    gc.collect()
    gc.disable()
    try:
        seen = weakref.ref(Ring())
        assert seen() is not None
        garbage.tick(Instant(0.0))
        assert seen() is None
    finally:
        gc.enable()
