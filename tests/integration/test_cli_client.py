"""The Python client against a real CURVE socket: answers, refusals, restarts."""

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from support.core.site_views import job as site_job
from support.programs.fake_door import FakeDoor
from wattline.client import (
    BadRequest,
    BundleError,
    Client,
    Impossible,
    NotAllowed,
    NotFound,
    Refused,
    Unreachable,
    WattlineError,
    selection,
)
from wattline.runs.acts import runs
from wattline_protocol.ids import AttemptNo, DomainId, JobId, TaskNo, TaskRef
from wattline_protocol.job.file import JobFileError
from wattline_protocol.job.selection import Selection, Span
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.trust.keys import KeyPair
from wattline_protocol.views.site_views import DomainView
from wattline_protocol.wire.client_messages import (
    Acted,
    Answer,
    Cancel,
    Denied,
    FetchLog,
    GetJob,
    GetPower,
    JobActed,
    Jobs,
    ListJobs,
    Log,
    Power,
    Request,
    Submit,
    Submitted,
)
from wattline_protocol.wire.reservations import Reserve
from wattline_protocol.wire.routes import Routes
from wattline_protocol.wire.subscriptions import WatchRoutes

DOMAIN = DomainView(DomainId("site"), "power", None, 100.0, 80.0, 80.0, 40.0, 1.0, 30.0, 39.0, None)


def answers(request: Request) -> Iterable[Answer]:
    """What the fake says to each request these tests make."""
    match request:
        case Submit(token=token):
            return [Submitted(JobId(len(token)))]
        case Cancel(which=which):
            number = which.jobs[0].first
            text = f"job {number} is being stopped"
            return [Acted((JobActed(number, "x", "ops", "RUNNING", "", 1, text),), False)]
        case GetPower():
            return [Power((DOMAIN,))]
        case GetJob():
            return [Denied("not_found", "there is no job 7")]
        case ListJobs():
            return [Denied("not_allowed", "submitters see their own jobs")]
        case _:
            return [Denied("impossible", "no node has 64 GPUs; at most 8 fit")]


def test_values_come_back_as_views(tmp_path: Path) -> None:
    with FakeDoor(tmp_path, answers) as fake, Client(fake.bundle()) as client:
        assert client.power() == (DOMAIN,)
        assert client.submit(JobSpec("x", ("true",)), token="12345") == 5
        assert client.cancel(3).jobs[0].text == "job 3 is being stopped"
        assert (client.me.user, client.me.role) == ("ops", "operator")


def test_job_can_be_given_as_keywords(tmp_path: Path) -> None:
    with FakeDoor(tmp_path, answers) as fake, Client(fake.bundle()) as client:
        client.submit(command=["python", "train.py"], gpus=4, retries=2, name="x")
        (request,) = fake.requests
        assert isinstance(request, Submit)
        assert request.spec.resources.gpus_per_node == 4
        assert request.spec.recovery.retries == 2
        with pytest.raises(JobFileError, match="the nearest is --retries"):
            client.submit(command=["true"], retires=2)
        with pytest.raises(TypeError, match="not both"):
            client.submit(request.spec, gpus=1)


def test_a_list_that_does_not_fit_a_message_comes_whole(tmp_path: Path) -> None:
    """The first page has the newest jobs, among which those that run may not be."""
    there = [site_job(number, "x", "PENDING") for number in range(1, 8)]

    def pages(request: Request) -> Iterable[Answer]:
        assert isinstance(request, ListJobs)
        found = [view for view in there if request.before is None or view.id < request.before]
        most = min(request.limit, 3)
        return [Jobs(tuple(found[-most:]), is_cut=len(found) > most)]

    with FakeDoor(tmp_path, pages) as fake, Client(fake.bundle()) as client:
        assert client.jobs() == tuple(there)
        assert client.jobs(limit=4) == tuple(there[3:])
        assert client.jobs(limit=0) == ()
        client.jobs("3-5", ended=False)
        request = fake.requests[-1]
        assert isinstance(request, ListJobs)
        assert request.which == Selection((Span(JobId(3), JobId(5)),))


def test_a_list_of_runs_has_as_many_lines_as_requested_behind_many_services(
    tmp_path: Path,
) -> None:
    """A job that was requeued is pending, and has runs."""
    again = site_job(2, "again", "PENDING")
    runs_of_jobs = [site_job(1, "done", "COMPLETED"), again, site_job(3, "now", "RUNNING")]
    idle = [site_job(number, "new", "PENDING", attempt_count=0) for number in range(4, 40)]
    services = [site_job(number, "s", "RUNNING", kind="service") for number in range(40, 80)]
    there = [*runs_of_jobs, *idle, *services]

    def pages(request: Request) -> Iterable[Answer]:
        assert isinstance(request, ListJobs)
        found = [view for view in there if request.before is None or view.id < request.before]
        found = [v for v in found if not request.which.states or v.state in request.which.states]
        return [Jobs(tuple(found[-request.limit :]), is_cut=len(found) > request.limit)]

    with FakeDoor(tmp_path, pages) as fake, Client(fake.bundle()) as client:
        assert [row.run for row in runs(client, name=(), user=(), lines=2)] == ["2", "3"]
        assert [row.run for row in runs(client, name=(), user=(), lines=9)] == ["1", "2", "3"]
        assert len(fake.requests) < 10


def test_denials_are_exceptions_of_their_kind(tmp_path: Path) -> None:
    with FakeDoor(tmp_path, answers) as fake, Client(fake.bundle()) as client:
        with pytest.raises(NotFound, match="there is no job 7"):
            client.job(7)
        with pytest.raises(NotAllowed):
            client.jobs()
        with pytest.raises(Impossible, match="at most 8"):
            client.hold(1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["echo", "caf\udce9"], r"'caf\\udce9' is not UTF-8"),
        (["echo", "x" * 5_000_000], "limit of"),
    ],
)
def test_what_cannot_be_sent_is_told_at_once_and_the_client_goes_on(
    words: list[str], said: str, tmp_path: Path
) -> None:
    with FakeDoor(tmp_path, answers) as fake, Client(fake.bundle()) as client:
        with pytest.raises(BadRequest, match=said):
            client.submit(JobSpec("x", tuple(words)))
        assert client.power() == (DOMAIN,)


@pytest.mark.parametrize("job", [np.int64(7), "7"])
def test_a_value_of_another_type_is_told_at_once_and_the_client_goes_on(
    job: Any, tmp_path: Path
) -> None:
    """One ended the thread of the client, the other was dropped by the scheduler unanswered."""
    with FakeDoor(tmp_path, answers) as fake, Client(fake.bundle()) as client:
        with pytest.raises(BadRequest, match=r"the request cannot be sent: .*(int64|got str)"):
            client.job(job)
        assert client.power() == (DOMAIN,)


def test_one_word_stands_for_itself_and_not_for_its_letters(tmp_path: Path) -> None:
    """Of the letters of "sweep-*" the last one chose every job."""
    with FakeDoor(tmp_path, answers) as fake, Client(fake.bundle()) as client:
        with pytest.raises(NotAllowed):
            client.jobs(selection(name="sweep-*", user="ada", state="RUNNING"))
        with pytest.raises(Impossible):
            client.reserve("week", for_s=60.0, nodes="gpu-*", users="ada", gpu_type="h100")
        listed, reserved = fake.requests
        assert isinstance(listed, ListJobs)
        assert listed.which == Selection(names=("sweep-*",), users=("ada",), states=("RUNNING",))
        assert isinstance(reserved, Reserve)
        assert reserved.nodes == ("gpu-*",)
        assert (reserved.users, reserved.gpu_type) == (("ada",), ("h100",))


def test_a_state_that_there_is_not_is_told_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="'running' is not a job state; expected one of PENDING, "):
        selection(state=["running"])  # type: ignore[list-item]


def test_nobody_there_is_unreachable_and_says_where(tmp_path: Path) -> None:
    with FakeDoor(tmp_path, answers) as fake:
        bundle = fake.bundle()
    unreachable = pytest.raises(Unreachable, match="is the scheduler of site fake running")
    with Client(bundle, timeout_s=0.3) as client, unreachable:
        client.power()


def test_unknown_key_is_refused_at_once(tmp_path: Path) -> None:
    with FakeDoor(tmp_path, answers) as fake:
        bundle = fake.bundle()
        stranger = KeyPair.generate()
        forged = msgspec.structs.replace(
            bundle, public_key=stranger.public, secret_key=stranger.secret
        )
        with Client(forged) as client, pytest.raises(Refused, match="wattline enroll"):
            client.power()
        with Client(bundle) as client:
            assert client.power()


def test_restart_of_the_scheduler_is_only_a_wait(tmp_path: Path) -> None:
    fake = FakeDoor(tmp_path, answers)
    bundle = fake.bundle()
    with Client(bundle) as client:
        assert client.power()
        fake.stop()
        asked = threading.Thread(target=client.submit, args=(JobSpec("x", ("true",)),))
        asked.start()
        again = FakeDoor(tmp_path, answers, fake.endpoint)
        again.admit(bundle)
        with again:
            asked.join(timeout=20)
            assert not asked.is_alive()
            assert [type(r) for r in again.requests] == [Submit]


def test_forgotten_connection_is_greeted_again(tmp_path: Path) -> None:
    with FakeDoor(tmp_path, answers) as fake, Client(fake.bundle()) as client:
        assert client.power()
        fake.forget_connections()
        assert client.power()
        assert fake.hellos == 2


def test_many_threads_share_one_client(tmp_path: Path) -> None:
    with FakeDoor(tmp_path, answers) as fake, Client(fake.bundle()) as client:
        with ThreadPoolExecutor(16) as pool:
            reported = [acted.jobs[0].job for acted in pool.map(client.cancel, range(1, 401))]
        assert reported == list(range(1, 401))


def test_watch_ends_with_the_client(tmp_path: Path) -> None:
    def routes(request: Request) -> Iterable[Answer]:
        assert isinstance(request, WatchRoutes)
        return [Routes({}), Routes({"digits": ()})]

    with FakeDoor(tmp_path, routes) as fake:
        fake.is_endless = True
        client = Client(fake.bundle("gw", "gateway"))
        watch = client.watch_routes()
        assert [next(watch), next(watch)] == [Routes({}), Routes({"digits": ()})]
        closer = threading.Thread(target=client.close)
        closer.start()
        with pytest.raises(WattlineError, match="closed"):
            next(watch)
        closer.join()


def test_log_is_read_piece_by_piece_and_from_one_attempt(tmp_path: Path) -> None:
    text = b"first line\nsecond line\n"
    asked: list[FetchLog] = []

    def log(request: Request) -> Iterable[Answer]:
        assert isinstance(request, FetchLog)
        asked.append(request)
        part = text[request.offset : request.offset + 8]
        end = request.offset + len(part)
        ref = TaskRef(JobId(4), TaskNo(0), AttemptNo(2))
        is_all = end == len(text)
        return [Log(ref, part, end, at_end=is_all, task_ended=is_all and len(asked) > 4)]

    with FakeDoor(tmp_path, log) as fake, Client(fake.bundle()) as client:
        assert b"".join(piece.data for piece in client.log(4)) == text
        assert {request.attempt for request in asked[1:]} == {2}
        asked.clear()
        assert b"".join(piece.data for piece in client.log(4, follow=True)) == text
        assert len(asked) == 5


def test_missing_bundle_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WATTLINE_BUNDLE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(BundleError, match="wattline enroll"):
        Client()


def test_agents_bundle_is_no_clients_bundle(tmp_path: Path) -> None:
    with FakeDoor(tmp_path, answers) as fake:
        fake.bundle("n1", "agent")
        with pytest.raises(BundleError, match="bundle of agent n1"):
            Client(tmp_path / "n1.toml")


def test_a_condition_is_sent_to_a_scheduler_of_the_same_release_only(tmp_path: Path) -> None:
    """Another one may not know the field, and would act on all jobs."""
    with FakeDoor(tmp_path, answers) as fake, Client(fake.bundle()) as client:
        with pytest.raises(WattlineError, match="conditions need the same; install the same"):
            client.cancel(selection(user="ada", where="state=held"))
        with pytest.raises(ValueError, match="where: no column 'stat'; the nearest is state"):
            selection(where="stat=held")
        assert fake.requests == []
