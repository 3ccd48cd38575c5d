"""Runs a job in the foreground: its output as it comes, and its exit status.

A thread follows the job and prints; the main thread waits for the end and for signals, so that
none interrupts a request half-way. After each stage of a stop it waits again.
"""

import queue
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from signal import Signals
from typing import Any

from wattline import exits
from wattline.acts.submit import PendingNotes, exit_status, job_spec, output, put_hints, put_warning
from wattline.client import Client, Unreachable, WattlineError
from wattline.failures import ActFailed
from wattline.foreground.attach import run_on_terminal
from wattline.foreground.signals import queued
from wattline.show.jobs import how_it_ended
from wattline.show.screen import put, put_error
from wattline.verbs.run import Outcome
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.views.site_views import JobView

OF_SIGNAL = 128
AT_ONCE = 2
"""Signals after which the task is killed without the rest of its grace."""
LEAVE = 3
"""Signals after which the client leaves the job to itself."""

Event = Signals | JobView | Exception
Events = queue.SimpleQueue[Event]


def run(
    client: Client, *, file: str | None, command: tuple[str, ...], quiet: bool, **options: Any
) -> Outcome:
    """Submit the job, print what its task writes, and return its exit status."""
    spec = job_spec(file, command, options)
    _check(spec)
    put_hints(spec)
    if spec.launch.pty:
        return run_on_terminal(client, spec, quiet=quiet)
    events: Events = queue.SimpleQueue()
    with queued(events):
        submitted = client.submit_warned(spec)
        put_warning(submitted.warning)
        job = ForegroundJob(client, submitted.job, spec.name, quiet=quiet)
        if not quiet:
            job.say(f"Submitted job {job.id} ({spec.name}).")
        job.follow(events)
        return Outcome(None, job.status(events))


def _check(spec: JobSpec) -> None:
    if spec.array is not None or spec.kind == "service":
        what = "an array" if spec.array is not None else "a service"
        raise ActFailed(f"{what} has many outputs: use wattline submit, then logs", exits.USAGE)


class ForegroundJob:
    """A job with the client that follows it."""

    def __init__(self, client: Client, job: int, name: str, *, quiet: bool) -> None:
        self._client, self.id, self._name, self._quiet = client, job, name, quiet

    def say(self, text: str) -> None:
        """A line on stderr, which a terminal that was closed no longer takes."""
        with suppress(OSError):
            put_error(text)

    def follow(self, events: Events) -> None:
        """Print in a thread until the job has ended, then put its view, or an error."""

        def work() -> None:
            try:
                for piece in output(self._client, self.id, notes):
                    put(piece)
                events.put(self._client.wait(self.id, seen=notes))
            except Exception as error:  # for the main thread
                events.put(error)

        show_reasons = sys.stderr.isatty() and not self._quiet
        notes: Callable[[JobView], None] = PendingNotes() if show_reasons else lambda _: None
        threading.Thread(target=work, name="follow", daemon=True).start()

    def status(self, events: Events) -> int:
        """Exit status once the job has ended; signals stop it, each more than the one before."""
        signals: list[Signals] = []
        while True:
            match events.get():
                case JobView() as ended:
                    if signals and ended.state == "CANCELLED":
                        return OF_SIGNAL + signals[0]
                    if ended.state != "COMPLETED":  # the status alone does not say why
                        self.say(how_it_ended(ended).plain)
                    return exit_status(ended)
                case Signals() as number:
                    signals.append(number)
                    if len(signals) >= LEAVE:
                        self._leave()
                        return OF_SIGNAL + signals[0]
                    self._stop(events, at_once=len(signals) >= AT_ONCE)
                case Exception() as error:
                    self._stop(events, at_once=False)  # its output has no reader any more
                    if signals:  # the terminal was closed
                        return OF_SIGNAL + signals[0]
                    raise error

    def _stop(self, events: Events, *, at_once: bool) -> None:
        """Cancel the job, once the scheduler answers; further signals interrupt the attempts."""
        how = "killed" if at_once else "cancelled; another signal kills it"
        self.say(f"Job {self.id} ({self._name}) is being {how}.")
        while events.empty():
            try:
                if at_once:
                    self._client.update(self.id, grace="0s")
                self._client.cancel(self.id)
            except Unreachable as error:
                self.say(f"It is cancelled once the scheduler answers: {error}")
            except WattlineError as error:  # it has ended meanwhile, or the key was revoked
                self.say(str(error))
                return
            else:
                return

    def _leave(self) -> None:
        self.say(
            f"Job {self.id} ({self._name}) may continue: `wattline job {self.id}` shows it, "
            f"`wattline cancel {self.id}` stops it"
        )
