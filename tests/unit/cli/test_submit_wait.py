"""`submit --wait`: what a job of one task writes, attempt by attempt; hints at submission."""

from collections.abc import Iterator

import msgspec
import pytest

from support.core.site_views import job
from wattline.acts.submit import PendingNotes, has_one_task, job_spec, output, shell_hint
from wattline.client import Client, NotFound, Unreachable
from wattline.failures import ActFailed
from wattline_protocol.ids import AttemptNo, JobId, TaskNo, TaskRef
from wattline_protocol.job.file import job_from_options
from wattline_protocol.views.site_views import JobState, JobView
from wattline_protocol.wire.client_messages import Log


def piece(attempt: int, data: bytes) -> Log:
    ref = TaskRef(JobId(1), TaskNo(0), AttemptNo(attempt))
    return Log(ref, data, 0, at_end=True, task_ended=True)


class Played(Client):
    """Answers in turn; the last answer stays."""

    def __init__(self, states: list[JobState | Exception], logs: list[list[Log] | Exception]):
        self._states, self._logs = states, logs

    def job(self, job_id: int) -> JobView:
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        if isinstance(state, Exception):
            raise state
        return job(job_id, "train", state)

    def log(self, job_id: int, **options: object) -> Iterator[Log]:  # type: ignore[override]
        pieces = self._logs.pop(0) if len(self._logs) > 1 else self._logs[0]
        if isinstance(pieces, Exception):
            raise pieces
        yield from pieces


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wattline.acts.submit.NEXT_ATTEMPT_S", 0.0)


def test_every_attempt_is_shown_once() -> None:
    first, second = [piece(1, b"a"), piece(1, b"b")], [piece(2, b"c")]
    played = Played(["RUNNING", "RUNNING", "RUNNING", "COMPLETED"], [first, first, second, second])
    assert list(output(played, 1)) == [b"a", b"b", b"c"]


def test_an_attempt_that_ended_with_the_job_is_shown() -> None:
    played = Played(["RUNNING", "COMPLETED"], [[piece(1, b"a")], [piece(2, b"b")]])
    assert list(output(played, 1)) == [b"a", b"b"]


def test_a_job_that_never_started_has_nothing_to_show() -> None:
    played = Played(["PENDING", "CANCELLED"], [NotFound("no log")])
    assert list(output(played, 1)) == []


def test_a_scheduler_that_restarts_is_waited_for() -> None:
    played = Played(
        [Unreachable("away"), "RUNNING", "COMPLETED"], [Unreachable("away"), [piece(1, b"a")]]
    )
    assert list(output(played, 1)) == [b"a"]


@pytest.mark.parametrize(
    ("options", "is_one"),
    [
        ({}, True),
        ({"nodes": 2, "gpus": 1}, False),
        ({"array": "0-3"}, False),
        ({"kind": "service", "name": "s"}, False),
    ],
)
def test_only_one_task_has_one_log(options: dict[str, object], is_one: bool) -> None:
    assert has_one_task(job_from_options(command=["true"], **options)) is is_one


@pytest.mark.parametrize(
    ("command", "shell"),
    [
        (["python x.py | tee log"], "-- sh -c 'python x.py | tee log'"),
        (["python", "x.py", "|", "tee", "log"], "-- sh -c 'python x.py | tee log'"),
        (["a", "&&", "b"], "-- sh -c 'a && b'"),
    ],
)
def test_what_is_meant_for_a_shell_gets_a_hint(command: list[str], shell: str) -> None:
    assert shell_hint(command).endswith(shell)


@pytest.mark.parametrize(
    "command", [["true"], ["sh", "-c", "a | b"], ["grep", "a b", "x"], ["my prog", "--flag"]]
)
def test_what_is_a_command_gets_none(command: list[str]) -> None:
    assert shell_hint(command) == ""


def test_a_pending_job_says_why_after_a_second_and_when_that_changes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = [0.0]
    says = PendingNotes(lambda: now[0])

    def at(now_s: float, reason: str, state: JobState = "PENDING") -> str:
        now[0] = now_s
        says(msgspec.structs.replace(job(1, "train", state), reason=reason))
        return capsys.readouterr().err

    assert at(0.5, "never heard") == ""
    assert at(1.0, "never heard") == "Job 1 (train) is PENDING: never heard\n"
    assert at(30.0, "never heard") == ""
    assert at(30.0, "", "RUNNING") == ""
    assert at(30.0, "1 more free GPU") == "Job 1 (train) is PENDING: 1 more free GPU\n"
    assert at(39.0, "2 more free GPUs") == ""
    assert at(40.0, "2 more free GPUs") == "Job 1 (train) is PENDING: 2 more free GPUs\n"


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("nofile.toml", ""),
        ("python3 x.py | tee log", "wattline submit -- sh -c 'python3 x.py | tee log'"),
        ("sh", "wattline submit -- sh ..."),
    ],
)
def test_a_command_without_dashes_is_named_as_one(word: str, hint: str) -> None:
    with pytest.raises(ActFailed, match="no job file") as refused:
        job_spec(word, (), {})
    assert str(refused.value).partition("a command follows --: ")[2] == hint
