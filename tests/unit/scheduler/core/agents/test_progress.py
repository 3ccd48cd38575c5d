"""Progress reported by tasks bends the curve of their kind of job, and survives a restart."""

import pytest

from support.core.harness import Harness
from support.core.sites import job, site
from wattline_protocol.ids import JobId
from wattline_protocol.wire.client_messages import Restore, Shed
from wattline_scheduler.power.demand.demand_store import Learned
from wattline_scheduler.power.demand.useful_cap import curve_of
from wattline_scheduler.records import DemandRecord

WANTS_MW = 600_000


def cluster() -> Harness:
    h = Harness(site().rack("a", 1).site_budget(10.0).build())
    h.join()
    h.agent("a1").wants_mw = WANTS_MW
    return h


def learned(h: Harness, number: JobId) -> Learned:
    found = h.cluster.state.demand.learned_of(h.gang(number).live[0].node, 0)  # type: ignore[arg-type]  # an index
    assert found is not None
    return found


def work(h: Harness, number: JobId, seconds: int, steepness: float, metric: str = "step") -> None:
    """Let the job run and report what it does at the caps in force."""
    attempt = h.gang(number).live[0]
    agent, need = h.agent(attempt.node), h.job(number).shape.need
    task = agent.tasks[attempt.record.ref]
    for _ in range(seconds):
        gpu = h.node(attempt.node).gpus[attempt.record.gpus[0]]
        curve = curve_of(gpu, WANTS_MW, need)
        kept = curve.performance(agent.caps_mw[gpu.index], WANTS_MW)
        task.metrics[metric] = task.metrics.get(metric, 0.0) + 10.0 * kept**steepness
        h.run(1.0)


@pytest.mark.parametrize(("steepness", "low", "high"), [(2.0, 1_300, 2_000), (0.4, 400, 800)])
def test_a_job_that_a_cap_slows_otherwise_than_the_model_is_found_out(
    steepness: float, low: int, high: int
) -> None:
    h = cluster()
    number = h.submit(job().gpus(8))
    work(h, number, 100, steepness)
    assert learned(h, number).steepness_permille == 1_000
    h.do(Shed(None, by_mw=5_500_000))
    work(h, number, 400, steepness)
    assert low <= learned(h, number).steepness_permille <= high


def test_the_correction_is_on_record_and_used_after_a_restart() -> None:
    h = cluster()
    number = h.submit(job().gpus(8).min_performance(0.5))
    work(h, number, 100, 2.0)
    h.do(Shed(None, by_mw=5_500_000))
    work(h, number, 400, 2.0)
    seen = learned(h, number).steepness_permille
    h.do(Restore(None))
    h.run(5)
    h.end_tasks()
    (record,) = h.disk.of(DemandRecord)
    assert record.steepness_permille == seen > 1_000
    h.restart_scheduler()
    h.join()
    assert learned(h, h.submit(job().gpus(8).min_performance(0.5))).steepness_permille == seen


def test_a_metric_that_the_job_does_not_name_changes_nothing() -> None:
    h = cluster()
    number = h.submit(job().gpus(8))
    work(h, number, 100, 2.0, "epoch_loss")
    h.do(Shed(None, by_mw=5_500_000))
    work(h, number, 200, 2.0, "epoch_loss")
    assert learned(h, number).steepness_permille == 1_000


def test_a_service_is_not_judged_by_its_requests() -> None:
    h = cluster()
    number = h.submit(job().gpus(8).service(1))
    work(h, number, 100, 2.0, "tokens")
    h.do(Shed(None, by_mw=5_500_000))
    work(h, number, 200, 2.0, "tokens")
    assert learned(h, number).steepness_permille == 1_000
