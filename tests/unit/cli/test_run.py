"""`wattline run`: signals stop the job step by step, and the exit status is that of its command."""

import os
import queue
import signal
from collections.abc import Iterator
from signal import SIGHUP, SIGINT, SIGTERM

import msgspec
import pytest

from support.core.site_views import job
from wattline.client import Client, Unreachable
from wattline.failures import ActFailed
from wattline.foreground.run import Event, Events, ForegroundJob, run
from wattline.foreground.signals import queued
from wattline_protocol.ids import AttemptNo, JobId, TaskNo, TaskRef
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.views.site_views import JobState, JobView
from wattline_protocol.wire.client_messages import Acted, Log, Submitted


def ended(state: JobState, exit_code: int | None = None) -> JobView:
    return msgspec.structs.replace(job(7, "train", state), exit_code=exit_code)


class Played(Client):
    """Records what it is asked to do; `then` is put into the events once the job was cancelled."""

    def __init__(self, events: Events, *then: Event, away: int = 0) -> None:
        self.queue, self.then, self.away = events, list(then), away
        self.acts: list[str] = []

    def cancel(self, jobs: object, *, dry_run: bool = False) -> Acted:
        if self.away:
            self.away -= 1
            raise Unreachable("no answer")
        self.acts.append("cancel")
        if self.then:
            self.queue.put(self.then.pop(0))
        return Acted((), is_dry_run=False)

    def update(self, jobs: object, *, dry_run: bool = False, **changes: object) -> Acted:
        self.acts.append(f"update {changes}")
        return Acted((), is_dry_run=False)


def status(client: Played, *events: Event) -> int:
    for event in events:
        client.queue.put(event)
    return ForegroundJob(client, 7, "train", quiet=False).status(client.queue)


@pytest.fixture
def events() -> Events:
    return queue.SimpleQueue()


@pytest.mark.parametrize(
    ("view", "code"),
    [
        (ended("COMPLETED"), 0),
        (ended("FAILED", 7), 7),
        (ended("FAILED", 137), 137),
        (ended("TIMEOUT"), 124),
        (ended("CANCELLED"), 125),
    ],
    ids=lambda value: value.state if isinstance(value, JobView) else None,
)
def test_its_status_is_that_of_the_command(events: Events, view: JobView, code: int) -> None:
    assert status(Played(events), view) == code


def test_a_job_that_does_not_complete_says_why(
    events: Events, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = "command not found: nix (not in PATH)"
    view = msgspec.structs.replace(ended("FAILED"), reason=reason, started_unix_s=None)
    assert status(Played(events), view) == 1
    assert capsys.readouterr().err == f"Job 7 (train) FAILED: {reason}\n"
    assert status(Played(events), ended("COMPLETED")) == 0
    assert status(Played(events, ended("CANCELLED")), SIGINT) == 130
    assert "CANCELLED" not in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(SIGINT, 130), (SIGTERM, 143), (SIGHUP, 129)])
def test_a_signal_cancels_the_job(events: Events, number: signal.Signals, code: int) -> None:
    client = Played(events, ended("CANCELLED"))
    assert status(client, number) == code
    assert client.acts == ["cancel"]


def test_a_command_that_ends_by_itself_after_the_signal_keeps_its_status(events: Events) -> None:
    assert status(Played(events, ended("FAILED", 3)), SIGINT) == 3


def test_a_second_signal_kills_and_a_third_leaves(
    events: Events, capsys: pytest.CaptureFixture[str]
) -> None:
    client = Played(events, SIGTERM, SIGINT)
    assert status(client, SIGINT) == 130
    assert client.acts == ["cancel", "update {'grace': '0s'}", "cancel"]
    assert "`wattline cancel 7` stops it" in capsys.readouterr().err


def test_the_job_is_cancelled_once_the_scheduler_answers(events: Events) -> None:
    client = Played(events, ended("CANCELLED"), away=2)
    assert status(client, SIGINT) == 130
    assert client.acts == ["cancel"]


def test_a_job_without_a_reader_is_cancelled(events: Events) -> None:
    client = Played(events)
    with pytest.raises(BrokenPipeError):
        status(client, BrokenPipeError())
    assert client.acts == ["cancel"]


def test_signals_are_queued_and_an_ignored_one_stays_so(events: Events) -> None:
    before = signal.signal(SIGHUP, signal.SIG_IGN)
    try:
        with queued(events):
            for number in (SIGTERM, SIGHUP, SIGINT):
                os.kill(os.getpid(), number)
        assert [events.get(), events.get()] == [SIGTERM, SIGINT]
        assert events.empty()
        assert signal.getsignal(SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(SIGHUP, before)


class Whole(Played):
    """A job that writes two lines and ends."""

    def submit_warned(self, spec: JobSpec, **_: object) -> Submitted:
        return Submitted(JobId(7))

    def job(self, job: int) -> JobView:
        return ended("FAILED", 9)

    def log(self, job: int, **_: object) -> Iterator[Log]:
        ref = TaskRef(JobId(7), TaskNo(0), AttemptNo(1))
        yield Log(ref, b"one\n", 4, at_end=False, task_ended=True)
        yield Log(ref, b"two\n", 8, at_end=True, task_ended=True)


def test_its_output_is_printed_as_it_is_and_nothing_else(
    events: Events, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    outcome = run(Whole(events), file=None, command=("true",), quiet=False)
    assert (outcome.status, outcome.value) == (9, None)
    printed = capfdbinary.readouterr()
    assert printed.out == b"one\ntwo\n"
    assert printed.err == b"Submitted job 7 (true).\nJob 7 (train) FAILED after 0s\n"


def test_on_a_terminal_its_escape_codes_are_visible_and_its_colours_stay(
    events: Events, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hostile(Whole):
        def log(self, job: int, **_: object) -> Iterator[Log]:
            ref = TaskRef(JobId(7), TaskNo(0), AttemptNo(1))
            data = b"x\x1b]0;evil\x07y \x1b[31mred\x1b[0m\n"
            yield Log(ref, data, len(data), at_end=True, task_ended=True)

    monkeypatch.setattr("wattline.show.screen.sys.stdout.isatty", lambda: True)
    run(Hostile(events), file=None, command=("true",), quiet=True)
    assert capfd.readouterr().out.startswith("x\u241b]0;evil\u2407y \x1b[31mred\x1b[0m\n")


@pytest.mark.parametrize("options", [{"array": "0-3"}, {"kind": "service", "name": "s"}])
def test_what_has_many_outputs_is_refused(events: Events, options: dict[str, str]) -> None:
    with pytest.raises(ActFailed, match="has many outputs: use wattline submit"):
        run(Whole(events), file=None, command=("true",), quiet=True, **options)
