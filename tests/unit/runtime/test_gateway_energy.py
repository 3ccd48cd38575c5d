"""What a gateway counts of the energy that workers report, and what it does not believe."""

from typing import Any

import pytest

from support.programs.serving import GatewayBench, name
from wattline_protocol.ids import JobId
from wattline_protocol.wire.rollouts import MeasuredEnergy, ReportTraffic, RevisionTraffic
from wattline_runtime.gateway import events as e
from wattline_runtime.gateway.answers.joules import joules_text
from wattline_runtime.gateway.processes.sums import TrafficSum
from wattline_runtime.gateway.revisions.reported_energy import BEFORE_S, MAX_WORKER_W, UJ
from wattline_runtime.wire import Failure, FromWorker, Reply

MOST_UJ = int(MAX_WORKER_W * BEFORE_S * UJ)
"""That a worker may report when it has just connected."""


@pytest.fixture
def bench() -> GatewayBench:
    return GatewayBench(now_s=100.0).routes(0).worker(0, capacity=8).submit(1, 2, 3)


def says(bench: GatewayBench, message: FromWorker) -> None:
    bench.happens(e.WorkerMessage(name(0), "key-0", message))


def counted(bench: GatewayBench) -> MeasuredEnergy:
    (traffic,) = bench.gateway.queue.services["svc"].traffic.values()
    return traffic.energy


def test_energy_of_answers_counts_with_and_without_output(bench: GatewayBench) -> None:
    says(bench, Reply(1, b"1", tokens=7, energy_uj=500))
    says(bench, Failure(2, "model_error", energy_uj=300))
    bench.worker(0, idle_uj=1_000).worker(0, idle_uj=1_200)
    assert counted(bench) == MeasuredEnergy(800, 1_200, outputs=1, tokens=7)


def test_a_worker_of_an_earlier_release_has_not_measured(bench: GatewayBench) -> None:
    says(bench, Reply(1, b"1", tokens=7))
    bench.worker(0)
    assert counted(bench) == MeasuredEnergy()


@pytest.mark.parametrize("energy_uj", [-1, MOST_UJ + 1, 2**63], ids=str)
def test_an_answer_with_an_energy_that_cannot_be_counts_without_it(
    bench: GatewayBench, energy_uj: int
) -> None:
    says(bench, Reply(1, b"1", energy_uj=energy_uj))
    bench.worker(0, idle_uj=energy_uj)
    assert bench.outcomes[1] == "1"
    assert counted(bench) == MeasuredEnergy()


def test_a_worker_cannot_report_more_than_a_host_draws_in_its_time(bench: GatewayBench) -> None:
    says(bench, Reply(1, b"1", energy_uj=MOST_UJ))
    bench.worker(0, idle_uj=MOST_UJ)
    assert counted(bench) == MeasuredEnergy(MOST_UJ, 0, 1)
    bench.later(1.0).worker(0, idle_uj=MAX_WORKER_W * UJ)
    assert counted(bench).idle_uj == MAX_WORKER_W * UJ


def test_energy_that_was_idle_before_is_not_counted_twice_or_taken_back(
    bench: GatewayBench,
) -> None:
    for idle_uj in (900, 900, 100, None, 950):
        bench.worker(0, idle_uj=idle_uj)
    assert counted(bench).idle_uj == 950


def test_a_worker_that_was_taken_for_lost_is_not_counted_twice(bench: GatewayBench) -> None:
    bench.worker(0, idle_uj=900).later(10.0)
    assert not bench.gateway.queue.services["svc"].workers, "it was silent"
    bench.worker(0, idle_uj=950).worker(0, idle_uj=960)
    assert counted(bench).idle_uj == 910


def test_processes_of_a_gateway_add_up() -> None:
    sums, energy = TrafficSum(), MeasuredEnergy(5, 4, 3, 2)
    for process in (0, 1):
        row = RevisionTraffic("svc", JobId(7), 1, energy=energy)
        sums.add(process, ReportTraffic((row,)))
    assert sums.take().revisions[0].energy == MeasuredEnergy(10, 8, 6, 4)


@pytest.mark.parametrize(
    ("energy_uj", "text"),
    [(0, "0"), (1, "0.000001"), (62_500, "0.0625"), (10 * UJ, "10"), (1_234_567_890, "1234.56789")],
    ids=str,
)
def test_joules_are_written_to_the_microjoule(energy_uj: Any, text: str) -> None:
    assert joules_text(energy_uj) == text
