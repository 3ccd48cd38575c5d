"""What users see of services: replicas, and each worker as gateways have reported it."""

from pathlib import Path

import msgspec
import pytest

from support.core.harness import end_one
from support.core.rolling import RollingHarness, echo, rolling
from support.core.sites import job
from support.store.stores import opened
from wattline_protocol.ids import AttemptNo, JobId, TaskNo, TaskRef, UserName
from wattline_protocol.job.selection import only
from wattline_protocol.site.model import Role
from wattline_protocol.views.service_views import ListServices, Services, ServiceView
from wattline_protocol.wire.client_messages import Cancel, Denied, FromClient, Response
from wattline_protocol.wire.codec import Codec, MalformedMessage
from wattline_protocol.wire.rollouts import (
    MAX_REPORTED,
    MeasuredEnergy,
    ReportTraffic,
    RevisionTraffic,
    SteerRollout,
    WorkerTraffic,
)
from wattline_scheduler.core.model.jobs.job import Attempt
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.shell.clients.questions import Reads
from wattline_scheduler.time_slices import at_once


@pytest.fixture
def h() -> RollingHarness:
    made = rolling("gw", "other")
    made.reporting.clear()  # the tests report
    return made


def ask(
    h: RollingHarness, tmp_path: Path, name: str = "", user: str = "ada", role: Role = "submitter"
) -> tuple[ServiceView, ...] | Denied:
    """The answer as its reader sees it."""
    store = opened(tmp_path)
    reads = Reads(h.cluster, store, lambda: 0, lambda: h.now)
    asker = Asker(UserName(user), role)
    answer = at_once(reads.services(asker, ListServices(name), h.now))
    store.close()
    found = msgspec.msgpack.decode(
        msgspec.msgpack.encode(Response(1, answer)), type=Response
    ).answer
    assert isinstance(found, Services | Denied)
    return found if isinstance(found, Denied) else found.services


def one(h: RollingHarness, tmp_path: Path, user: str = "ada") -> ServiceView:
    found = ask(h, tmp_path, "echo", user)
    assert not isinstance(found, Denied)
    return found[0]


def refs(h: RollingHarness, number: JobId) -> list[TaskRef]:
    return [attempt.record.ref for gang in h.job(number).gangs for attempt in gang.live]


def report(h: RollingHarness, gateway: str, ready: int, *workers: WorkerTraffic) -> None:
    rows = (RevisionTraffic("echo", JobId(1), ready),)
    h.ask(ReportTraffic(rows, workers), user=gateway, role="gateway")


def test_each_worker_is_shown_as_all_gateways_see_it(h: RollingHarness, tmp_path: Path) -> None:
    number = h.submit(echo())
    h.run(2)
    first, second = refs(h, number)
    assert {worker.state for worker in one(h, tmp_path).workers} == {"unknown"}
    report(h, "gw", 2, WorkerTraffic(first, "ready", 3, 0.02), WorkerTraffic(second, "ready", 1))
    report(h, "other", 1, WorkerTraffic(first, "stalled", 4, 0.5))
    view = one(h, tmp_path)
    assert (view.name, view.owner, view.revision) == ("echo", "ada", number)
    assert msgspec.to_builtins(view.replicas) == {
        "min": 2,
        "max": 2,
        "want": 2,
        "ready": 1,
        "why": "",
    }
    assert [(w.task, w.state, w.in_flight, w.batch_s) for w in view.workers] == [
        (str(first), "stalled", 7, 0.5),
        (str(second), "starting", 1, 0.0),
    ]
    assert [w.node for w in view.workers] == [h.gang(number, n).live[0].node for n in (0, 1)]
    assert list(msgspec.to_builtins(view))[:5] == [
        "name",
        "owner",
        "revision",
        "replicas",
        "workers",
    ]


def test_a_gateway_of_an_earlier_release_or_a_silent_one_decides_no_state(
    h: RollingHarness, tmp_path: Path
) -> None:
    number = h.submit(echo(1))
    h.run(2)
    (ref,) = refs(h, number)
    report(h, "other", 0)
    h.run(8)  # it is silent now
    old = ReportTraffic((RevisionTraffic("echo", number, 1),))
    h.ask(old, user="older", role="gateway")
    report(h, "gw", 1, WorkerTraffic(ref, "ready"))
    view = one(h, tmp_path)
    assert ([w.state for w in view.workers], view.replicas.ready) == (["ready"], 1)


def test_workers_that_do_not_exist_are_not_kept(h: RollingHarness) -> None:
    number = h.submit(echo(1))
    batch = h.submit(job("batch").gpus(1))
    h.run(2)
    (ref,) = refs(h, number)
    absent = [
        TaskRef(JobId(99), TaskNo(0), AttemptNo(1)),
        TaskRef(number, TaskNo(7), AttemptNo(1)),
        TaskRef(number, TaskNo(0), AttemptNo(9)),
        *refs(h, batch),
    ]
    report(h, "gw", 1, *(WorkerTraffic(one, "ready") for one in [*absent, ref]))
    kept = h.cluster.state.traffic["gw"].workers
    assert kept is not None
    assert list(kept) == [ref]
    report(h, "gw", 1)
    assert h.cluster.state.traffic["gw"].workers == {}


def test_energy_is_that_of_the_last_hour_at_all_gateways(h: RollingHarness, tmp_path: Path) -> None:
    number = h.submit(echo(1))
    h.run(2)
    assert one(h, tmp_path).energy is None, "not measured"
    energy = MeasuredEnergy(3_000_000, 1_000_000, outputs=6, tokens=300)

    def measured(gateway: str, revision: JobId = number) -> None:
        rows = (RevisionTraffic("echo", revision, 1, energy=energy),)
        h.ask(ReportTraffic(rows), user=gateway, role="gateway")

    for gateway in ("gw", "other"):
        measured(gateway)
    measured("gw", JobId(99))  # there is none
    h.run(60)
    found = one(h, tmp_path).energy
    assert found is not None
    assert (found.requests_j, found.idle_j, found.outputs, found.tokens) == (6.0, 2.0, 12, 600)
    assert (found.per_1000_requests_j, found.per_1000_tokens_j) == (500.0, 10.0)
    assert found.per_1000_requests_with_idle_j == pytest.approx(8.0 / 12 * 1000)
    assert found.per_1000_requests_usd is None, "the site has no tariff"
    assert found.seconds == pytest.approx(60, abs=2)
    assert h.cluster.state.energy.known == [("echo", number)]
    h.ask(Cancel(only(number)))
    h.run(30)
    assert h.cluster.state.energy.known == []


def test_no_sum_of_tokens_is_too_large_to_be_sent(h: RollingHarness, tmp_path: Path) -> None:
    number = h.submit(echo(1))
    h.run(2)
    h.cluster.state.energy.add("echo", number, MeasuredEnergy(1, tokens=2**64), h.now)
    found = one(h, tmp_path)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=type(found)) == found


def failed(h: RollingHarness, log_tail: str) -> tuple[JobId, Attempt]:
    """A service of one replica that failed, with the end of its log."""
    number = h.submit(echo(1))
    h.run(2)
    end_one(h, number, 3)
    h.run(0.3)
    (attempt,) = h.gang(number).past
    assert attempt.record.exit is not None
    end = msgspec.structs.replace(attempt.record.exit, log_tail=log_tail)
    attempt.record = msgspec.structs.replace(attempt.record, exit=end)
    return number, attempt


def test_a_failed_replica_shows_the_last_line_of_its_log_to_those_who_may_read_it(
    h: RollingHarness, tmp_path: Path
) -> None:
    error = "Traceback (most recent call last):\n  …\nValueError: no weights at /models/none\n"
    number, attempt = failed(h, f'ready\n{error}{{"event": "model_died"}}\n\n')
    assert h.gang(number).phase_name == "pending"
    (worker,) = one(h, tmp_path).workers
    assert (worker.task, worker.state) == (str(attempt.record.ref), "failed")
    assert worker.reason == "ValueError: no weights at /models/none"
    (worker,) = one(h, tmp_path, user="eve").workers
    assert "weights" not in worker.reason
    assert "3" in worker.reason
    h.run(5)  # its next try
    (ref,) = refs(h, number)
    report(h, "gw", 0, WorkerTraffic(ref, "loading"))
    (worker,) = one(h, tmp_path).workers
    assert (worker.state, worker.reason) == ("loading", "ValueError: no weights at /models/none")
    report(h, "gw", 1, WorkerTraffic(ref, "ready"))
    (worker,) = one(h, tmp_path).workers
    assert (worker.state, worker.reason) == ("ready", "")


def test_without_a_traceback_the_last_line_of_the_log_is_the_reason(
    h: RollingHarness, tmp_path: Path
) -> None:
    failed(h, "first\nno CUDA device\n\n")
    (worker,) = one(h, tmp_path).workers
    assert worker.reason == "no CUDA device"


def test_during_a_rollout_the_old_revision_is_the_one_that_serves(tmp_path: Path) -> None:
    h = rolling()
    old = h.submit(echo())
    h.run(3)
    new = h.submit(echo(3))
    h.run(5)
    view = one(h, tmp_path)
    assert (view.revision, view.replicas.want, view.replicas.ready) == (old, 2, 3)
    assert (view.rollout, view.next_revision) == ("checking", new)
    assert [w.task.split(".")[0] for w in view.workers] == [str(old), str(old), str(new)]
    while h.record().is_open:
        h.run(0.3)
    h.run(5)
    view = one(h, tmp_path)
    assert (view.revision, view.replicas.want, view.rollout) == (new, 3, "")


def test_a_rollout_that_went_back_leaves_the_old_revision(tmp_path: Path) -> None:
    h = rolling()
    old = h.submit(echo())
    h.run(3)
    new = h.submit(echo())
    h.run(5)
    h.ask(SteerRollout("echo", "back"), user="ada", role="submitter")
    assert h.record().phase == "back"
    assert h.state_of(new) == "RUNNING"  # its replica has its grace
    view = one(h, tmp_path)
    assert (view.revision, view.rollout, view.next_revision) == (old, "", None)
    assert [w.state for w in view.workers][-1] == "draining"


def test_all_users_see_all_open_services(h: RollingHarness, tmp_path: Path) -> None:
    number = h.submit(echo(1))
    h.submit(job("bobs").gpus(1).service(1), user="bob")
    h.submit(job("batch").gpus(1))
    found = ask(h, tmp_path, user="eve")
    assert not isinstance(found, Denied)
    assert [(view.name, view.owner) for view in found] == [("bobs", "bob"), ("echo", "ada")]
    denied = ask(h, tmp_path, "eco")
    assert isinstance(denied, Denied)
    assert (denied.kind, denied.reason) == (
        "not_found",
        "there is no service 'eco'; the nearest is echo",
    )
    h.do(Cancel(only(number)))
    h.run(5)
    assert isinstance(ask(h, tmp_path, "echo"), Denied)


WORKER = {"ref": {"job": 1, "task": 0, "attempt": 1}, "state": "ready"}


@pytest.mark.parametrize(
    "workers",
    [
        [WORKER | {"state": "x" * 33}],
        [WORKER | {"state": "\x1b[31m"}],
        [WORKER | {"in_flight": -1}],
        [WORKER | {"in_flight": 2**40}],
        [WORKER | {"batch_s": float("nan")}],
        [WORKER | {"batch_s": float("inf")}],
        [WORKER | {"batch_s": -1.0}],
        [WORKER] * (MAX_REPORTED + 1),
    ],
    ids=["long", "control", "negative", "large", "nan", "inf", "before", "many"],
)
def test_values_outside_the_bounds_of_a_report_are_refused(
    workers: list[dict[str, object]],
) -> None:
    request = {"t": "report_traffic", "revisions": [], "workers": workers}
    with pytest.raises(MalformedMessage):
        Codec(FromClient).decode(msgspec.msgpack.encode({"t": "ask", "ask": 1, "request": request}))
