"""Learned demand in the scheduler: kept through a restart, used when the same job starts again."""

from support.core.harness import Harness
from support.core.sites import job, site
from wattline_protocol.ids import JobId
from wattline_scheduler.core.admission.learned_demand import fingerprint
from wattline_scheduler.core.leases.lease_load import booking_of, demand_of
from wattline_scheduler.records import DemandRecord

W = 1000


def running(h: Harness, command: str = "train") -> JobId:
    h.agent("a1").wants_mw = 420 * W
    number = h.submit(job().gpus(4).command(command))
    assert h.state_of(number) == "RUNNING"
    return number


def cluster() -> Harness:
    h = Harness(site().rack("a", 1).build())
    h.join()
    return h


def demand_w(h: Harness, number: JobId) -> float:
    attempt = h.gang(number).live[0]
    node = h.node("a1")
    gpu = node.gpus[attempt.record.gpus[0]]
    return demand_of(h.cluster.state, node, gpu, [attempt], h.now) / W


def test_the_second_run_of_a_job_is_known_at_its_start() -> None:
    h = cluster()
    first = running(h)
    assert demand_w(h, first) == 700
    h.run(40)
    h.end_tasks()
    assert h.state_of(first) == "COMPLETED"
    assert 420 <= demand_w(h, running(h)) <= 450
    assert demand_w(h, running(h, "another")) == 700


def test_what_was_learned_survives_a_restart_of_the_scheduler() -> None:
    h = cluster()
    number = running(h)
    h.run(40)
    h.end_tasks()
    (record,) = h.disk.of(DemandRecord)
    assert record.label == "ada work NVIDIA H100 80GB HBM3"
    assert 420 * W <= record.p95_mw <= 435 * W
    h.restart_scheduler()
    h.join()
    h.settle()
    assert h.state_of(number) == "COMPLETED"
    assert 420 <= demand_w(h, running(h)) <= 450


def test_a_job_that_runs_on_is_known_after_a_crash() -> None:
    h = cluster()
    number = running(h)
    h.run(310)
    assert h.disk.of(DemandRecord)
    h.restart_scheduler()
    h.join()
    assert 420 <= demand_w(h, number) <= 450


def test_kinds_of_jobs_differ_by_user_command_shape_and_gpu() -> None:
    h = cluster()
    gpus = h.node("a1").gpus
    one, other = gpus[min(gpus)], gpus[max(gpus)]
    jobs = [
        h.job(h.submit(job().gpus(1), user="ada")),
        h.job(h.submit(job().gpus(1), user="bob")),
        h.job(h.submit(job().gpus(2), user="ada")),
        h.job(h.submit(job().gpus(1).command("x"), user="ada")),
    ]
    assert len({fingerprint(j, one) for j in jobs}) == 4
    assert fingerprint(jobs[0], one) == fingerprint(jobs[0], other)


def test_more_of_a_job_fits_once_it_is_known_to_draw_little() -> None:
    """Eight GPUs at the knee of their maximum do not fit; at that of 300 W they do."""
    h = Harness(site().rack("a", 1).site_budget(3.8).build())
    h.join()
    h.agent("a1").wants_mw = 300 * W
    first = h.submit(job().gpus(1).command("light"))
    h.run(60)
    numbers = [first, *(h.submit(job().gpus(1).command("light")) for _ in range(7))]
    h.run(20)
    assert [h.state_of(n) for n in numbers] == ["RUNNING"] * 8
    unknown = Harness(site().rack("a", 1).site_budget(3.8).build())
    unknown.join()
    unknown.agent("a1").wants_mw = 300 * W
    numbers = [unknown.submit(job().gpus(1).command(f"light {n}")) for n in range(8)]
    assert "PENDING" in {unknown.state_of(n) for n in numbers}


def test_running_work_is_booked_at_what_it_is_known_to_draw() -> None:
    h = cluster()
    running(h)
    h.run(60)
    kept = booking_of(h.cluster.state, h.node("a1"))
    assert kept.busy_mw <= 4 * 230 * W * 103 // 100  # the knee of 420 W, not of 700 W
