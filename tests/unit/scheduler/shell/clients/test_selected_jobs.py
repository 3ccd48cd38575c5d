"""Jobs selected by a condition: lists of them, and acts on those that still meet it."""

import pytest
from msgspec import msgpack

from support.core.harness import Harness
from support.core.sites import job
from wattline_protocol.ids import JobId, UserName
from wattline_protocol.job.selection import Selection, parse_jobs
from wattline_protocol.site.model import Role
from wattline_protocol.wire.client_messages import (
    Acted,
    Answer,
    Cancel,
    Denied,
    Hold,
    Jobs,
    ListJobs,
    OnJobs,
    Release,
    Requeue,
)
from wattline_scheduler.core.model.events import ClientRequest
from wattline_scheduler.shell.clients import selected_jobs
from wattline_scheduler.shell.clients.long_lists import ROWS_A_PART
from wattline_scheduler.shell.clients.questions import Reads
from wattline_scheduler.shell.clients.selected_jobs import looked_up
from wattline_scheduler.time_slices import Parts, at_once


class Client:
    """Acts as the loop does."""

    def __init__(self, h: Harness, reads: Reads) -> None:
        self.h = h
        self.reads = reads
        self._asks = 100_000

    def begin(self, request: OnJobs, user: str, role: Role) -> Parts[ClientRequest]:
        self._asks += 1
        event = ClientRequest(b"c", self._asks, UserName(user), role, request)
        state = self.h.cluster.state
        return looked_up(state, event, request, self.reads.show_job, lambda: self.h.now)

    def end(self, event: ClientRequest) -> Answer:
        self.h.handle(event)
        self.h.settle()
        return self.h.replies[event.ask]

    def act(self, request: OnJobs, user: str = "ops", role: Role = "operator") -> Acted:
        answer = self.end(at_once(self.begin(request, user, role)))
        assert isinstance(answer, Acted), answer
        return answer


@pytest.fixture
def client(h: Harness, reads: Reads) -> Client:
    return Client(h, reads)


def acted(answer: Acted) -> list[JobId]:
    return [one.job for one in answer.jobs if not one.refused]


def where(text: str, jobs: str = "") -> Selection:
    return Selection(parse_jobs(jobs) if jobs else (), where=text)


def test_a_list_counts_the_jobs_that_meet_its_condition(h: Harness, reads: Reads) -> None:
    runs = h.submit(job("sweep-1").gpus(8))
    waits = [h.submit(job(f"sweep-{n}").gpus(8)) for n in range(2, 5)]
    h.submit(job("other").gpus(8), user="bob")

    def listed(text: str, **options: object) -> tuple[list[JobId], bool]:
        request = ListJobs(which=where(text), **options)  # type: ignore[arg-type]  # of ListJobs
        answer = at_once(reads.listed(request, h.now))
        assert isinstance(answer, Jobs)
        rows = msgpack.decode(msgpack.encode(answer))["jobs"]  # they are encoded already
        return [row["id"] for row in rows], answer.is_cut

    assert listed("state=pending and user=ada") == (waits, False)
    assert listed("name=sweep-* and state=pending", limit=2) == (waits[1:], True)
    assert listed("name=sweep-* and state=pending", limit=3) == (waits, False)
    assert listed("elapsed>=0s") == ([runs], False)


def test_an_act_changes_the_jobs_that_meet_its_condition_and_are_the_users(
    h: Harness, client: Client
) -> None:
    ada = h.submit(job("sweep-a").gpus(8), user="ada")
    bob = h.submit(job("sweep-b").gpus(8), user="bob")
    rest = h.submit(job("train").gpus(8), user="bob")
    held = Hold(where("state=pending and name~sweep"))
    assert acted(client.act(held, "bob", "submitter")) == [bob]
    assert [h.state_of(one) for one in (ada, bob, rest)] == ["RUNNING", "HELD", "PENDING"]
    assert acted(client.act(Release(where("state=held", f"{ada}-{rest}")))) == [bob]
    assert acted(client.act(Cancel(where("gpus=8", str(rest))))) == [rest]
    assert h.state_of(rest) == "CANCELLED"
    assert acted(client.act(Cancel(where("gpus=8")))) == [ada, bob]
    assert acted(client.act(Requeue(where("state=cancelled and user=bob"), "t"))) == [bob, rest]


def test_a_job_that_changes_meanwhile_is_not_acted_on(h: Harness, client: Client) -> None:
    """It met the condition when it was looked up, and not when the act is done."""
    held = [h.submit(job().held()) for _ in range(ROWS_A_PART + 1)]
    parts = client.begin(Cancel(where("state=held")), "ops", "operator")
    next(parts)
    h.do(Release(Selection(parse_jobs(str(held[0])))))
    answer = client.end(at_once(parts))
    assert isinstance(answer, Acted)
    assert acted(answer) == held[1:]
    assert h.state_of(held[0]) in ("STARTING", "RUNNING", "COMPLETED")


def test_many_are_acted_on_in_several_requests(
    h: Harness, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selected_jobs, "MOST_JOBS", 2)
    held = [h.submit(job().held()) for _ in range(5)]
    first = client.act(Cancel(where("state=held")))
    assert (acted(first), first.rest) == (held[:2], 3)
    second = client.act(Cancel(where("state=held"), after=held[1]))
    assert (acted(second), second.rest) == (held[2:4], 1)
    third = client.act(Cancel(where("state=held"), after=held[3]))
    assert (acted(third), third.rest) == (held[4:], 0)


def test_an_act_goes_past_jobs_that_changed_meanwhile(
    h: Harness, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of the first ones meets the condition any more: they are no end of the request."""
    monkeypatch.setattr(selected_jobs, "MOST_JOBS", ROWS_A_PART)
    held = [h.submit(job().held()) for _ in range(ROWS_A_PART + 2)]
    parts = client.begin(Cancel(where("state=held")), "ops", "operator")
    next(parts)
    h.do(Release(Selection(parse_jobs(f"{held[0]}-{held[-3]}"))))
    answer = client.end(at_once(parts))
    assert isinstance(answer, Acted)
    assert (acted(answer), answer.rest) == (held[-2:], 0)


def test_a_condition_that_was_not_looked_up_selects_nothing(h: Harness) -> None:
    h.submit(job().held())
    answer = h.ask(Cancel(where("state=held")))
    assert answer == Acted((), is_dry_run=False)


@pytest.mark.parametrize("text", ["stat=held", "state=held and", "(" * 1_000])
def test_a_wrong_condition_is_refused(text: str, h: Harness, reads: Reads, client: Client) -> None:
    h.submit(job().held())
    answer = client.end(at_once(client.begin(Cancel(where(text)), "ops", "operator")))
    assert isinstance(answer, Denied)
    assert (answer.kind, answer.reason.startswith("where: ")) == ("bad_request", True)
    assert at_once(reads.listed(ListJobs(which=where(text)), h.now)) == answer
