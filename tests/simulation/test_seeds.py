"""The whole site from a seed: hurt for a minute, healed, settled; truth checked at every step."""

import pytest

from wattline_sim.fleet.run import run_seed

SEEDS = 200
CHUNK = 10


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
@pytest.mark.timeout(300)
def test_seeds(first: int) -> None:
    for seed in range(first, first + CHUNK):
        outcome = run_seed(seed)
        assert outcome.checks > 500, "a run that checks nothing proves nothing"
        assert outcome.faults > 0


def test_a_seed_replays_exactly() -> None:
    assert run_seed(7) == run_seed(7)
