"""The energy of a worker's GPUs is divided without a microjoule too much or too little."""

from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from wattline_runtime.serve.batcher import Key
from wattline_runtime.serve.energy.energy_ledger import FROZEN_S, UJ, EnergyLedger

GAPS_S = st.sampled_from((0.0, 0.001, 0.05, 0.3, 1.0, FROZEN_S, 6.0))


class Divided(RuleBasedStateMachine):
    """Runs, readings, restarts of the counter and answers in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = EnergyLedger()
        self.now_s, self.counter_uj, self.number = 100.0, 5_000, 0
        self.running: dict[int, list[Key]] = {}
        self.open: list[Key] = []
        self.taken_uj = 0

    @rule(gap_s=GAPS_S, costs=st.lists(st.integers(1, 512), min_size=1, max_size=4))
    def begin(self, gap_s: float, costs: list[int]) -> None:
        self.now_s += gap_s
        keys = [Key(1, self.number * 10 + at) for at in range(len(costs))]
        self.ledger.begin(self.number, dict(zip(keys, costs, strict=True)), self.now_s)
        self.running[self.number] = keys
        self.open.extend(keys)
        self.number += 1

    @rule(gap_s=GAPS_S, which=st.integers(0, 10))
    def end(self, gap_s: float, which: int) -> None:
        self.now_s += gap_s
        if self.running:
            run = sorted(self.running)[which % len(self.running)]
            self.ledger.end(run, self.now_s)
            del self.running[run]

    @rule(which=st.integers(0, 100), is_lost=st.booleans())
    def answer(self, which: int, is_lost: bool) -> None:
        if self.open:
            key = self.open.pop(which % len(self.open))
            if is_lost:
                self.ledger.drop(key)
            else:
                self.taken_uj += self.ledger.take(key) or 0

    @rule(gap_s=GAPS_S, grown_w=st.integers(0, 30_000))
    def read(self, gap_s: float, grown_w: int) -> None:
        self.now_s += gap_s
        self.counter_uj += int(grown_w * gap_s * UJ)
        self.ledger.read(self.counter_uj, self.now_s)

    @rule(counter_uj=st.integers(0, 10_000_000))
    def restart(self, counter_uj: int) -> None:
        self.counter_uj = counter_uj
        self.ledger.read(counter_uj, self.now_s)

    @rule()
    def load(self) -> None:
        self.ledger.loaded(self.now_s)

    @invariant()
    def all_is_in_one_sum(self) -> None:
        self.ledger.check_invariants()
        assert self.taken_uj <= self.ledger.charged_uj


TestDivided = Divided.TestCase


@dataclass
class Plant:
    """A GPU of constant draw, idle and busy, whose counter grows in steps, read every 0.1 s."""

    idle_w: float
    busy_w: float
    step_s: float
    ledger: EnergyLedger = field(default_factory=EnergyLedger)
    now_s: float = 0.0
    true_uj: float = 0.0
    shown_uj: int = 0
    busy_uj: float = 0.0
    next_step_s: float = 0.0
    next_read_s: float = 0.0

    def advance(self, seconds: float, *, is_busy: bool) -> None:
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            until_s = min(end_s, self.next_step_s, self.next_read_s)
            uj = (self.busy_w if is_busy else self.idle_w) * (until_s - self.now_s) * UJ
            self.true_uj += uj
            self.busy_uj += uj if is_busy else 0.0
            self.now_s = until_s
            if until_s == self.next_step_s:
                self.shown_uj = int(self.true_uj) // 1000 * 1000
                self.next_step_s += self.step_s
            if until_s == self.next_read_s:
                self.ledger.read(self.shown_uj, self.now_s)
                self.next_read_s += 0.1


@pytest.mark.parametrize("batch_s", [0.005, 0.7])
@pytest.mark.parametrize("idle_share", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("step_s", [0.02, 0.1])
def test_batches_get_what_they_drew_though_the_counter_grows_in_steps(
    batch_s: float, idle_share: float, step_s: float
) -> None:
    plant = Plant(75.0, 400.0, step_s)
    plant.ledger.loaded(0.0)
    plant.advance(2.0, is_busy=False)
    gap_s = batch_s * idle_share / (1 - idle_share)
    got: list[int] = []
    while plant.now_s < 20:
        key = Key(1, len(got))
        plant.ledger.begin("batch", {key: 3}, plant.now_s)
        plant.advance(batch_s, is_busy=True)
        plant.ledger.end("batch", plant.now_s)
        energy_uj = plant.ledger.take(key)
        assert energy_uj is not None
        got.append(energy_uj)
        plant.advance(gap_s, is_busy=False)
    plant.advance(1.0, is_busy=False)
    plant.ledger.check_invariants()
    assert sum(got) == pytest.approx(plant.busy_uj, abs=0.015 * plant.true_uj)
    assert sum(got) + plant.ledger.idle_uj == pytest.approx(plant.true_uj, abs=0.3 * 75.0 * UJ)
    late = sorted(got[len(got) // 2 :])
    own_uj, tenth = 400.0 * batch_s * UJ, len(late) // 10
    assert late[tenth] == pytest.approx(own_uj, rel=0.15)
    assert late[-1 - tenth] == pytest.approx(own_uj, rel=0.15)
