"""The terminal of a job: `wattline run --pty` and `wattline attach`."""

import os
import queue
from collections.abc import Callable
from contextlib import suppress
from signal import Signals

import msgspec

from wattline import exits
from wattline.acts.jobs import one_number
from wattline.acts.submit import PendingNotes, exit_status, put_warning
from wattline.client import (
    Busy,
    Client,
    Conflict,
    NotFound,
    Unavailable,
    Unreachable,
    WattlineError,
)
from wattline.failures import ActFailed
from wattline.foreground.attached_screen import AttachedScreen, Left, is_usable, window_size
from wattline.foreground.job_terminal import JobTerminal
from wattline.foreground.signals import queued
from wattline.show.jobs import how_it_ended
from wattline.show.screen import put, put_error
from wattline.verbs.run import Outcome
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.views.site_views import ENDED_STATES, JobView

OF_SIGNAL = 128
NEXT_LOOK_S = 0.2
ENDED_WITHIN_S = 10.0
"""Maximum time from the end of a terminal to that of its job or attempt."""
TERM = "TERM"
DETACHED_STATUS = 1
"""Of a client that another one has detached."""

Signalled = queue.SimpleQueue[Signals]


def run_on_terminal(client: Client, spec: JobSpec, *, quiet: bool) -> Outcome:
    """Submit the job and attach to the terminal of each of its attempts, until it has ended."""
    _check_terminal("wattline submit --pty, and later wattline attach JOB")
    if TERM not in spec.env and os.environ.get(TERM):
        spec = msgspec.structs.replace(spec, env={**spec.env, TERM: os.environ[TERM]})
    signals: Signalled = queue.SimpleQueue()
    with queued(signals):
        submitted = client.submit_warned(spec)
        put_warning(submitted.warning)
        job = TerminalJob(client, submitted.job, quiet=quiet)
        job.say(f"Submitted job {submitted.job} ({spec.name}).")
        return Outcome(None, job.status(signals))


def attach(client: Client, *, job: str) -> Outcome:
    """Attach to the terminal of a running job, until it ends or the user detaches."""
    _check_terminal("wattline logs JOB -f")
    number = one_number(client, job)
    signals: Signalled = queue.SimpleQueue()
    with queued(signals):
        attached = TerminalJob(client, number, quiet=False)
        return Outcome(None, attached.left(attached.show()))


def _check_terminal(instead: str) -> None:
    if not is_usable():
        text = "standard input and output must be a terminal"
        raise ActFailed(f"{text}; without one: {instead}", exits.USAGE)


class TerminalJob:
    """A job on a terminal, with the client that attaches to it."""

    def __init__(self, client: Client, job: int, *, quiet: bool) -> None:
        self._client, self._job, self._quiet = client, job, quiet
        self._attempt = 0
        """That it was attached to."""

    def say(self, text: str) -> None:
        """A line on stderr, which a terminal that was closed no longer takes."""
        if text and not self._quiet:
            with suppress(OSError):
                put_error(text)

    def show(self) -> Left:
        """Attach once. Raises RequestDenied, Unreachable."""
        terminal = JobTerminal(self._client, self._job)
        terminal.size = window_size()
        attached = terminal.attach()
        self._attempt = attached.ref.attempt
        self.say(f"[attached to job {attached.ref.job}; ~. after Enter detaches, ~? shows keys]")
        return AttachedScreen(terminal).run()

    def status(self, signals: Signalled) -> int:
        """Exit status, once the job has ended or the user has left it."""
        note: Callable[[JobView], None] = (lambda _: None) if self._quiet else PendingNotes()
        left: Left | None = None
        while True:
            view = self._view()
            if view is not None:
                note(view)
                if view.state in ENDED_STATES:
                    self._put_unseen(view)
                    return self._ended(view)
            if left is not None:
                self.say(f"{left.note or 'Its terminal has ended'}; job {self._job} has not.")
            left = None
            # Not started yet, just ended, or attached too often meanwhile.
            with suppress(Busy, Unavailable, Unreachable, Conflict):
                left = self.show()
            if left is not None and left.over != "ended":
                return self.left(left)
            with suppress(queue.Empty):
                return self._cancel(signals.get(timeout=NEXT_LOOK_S))

    def left(self, left: Left) -> int:
        """Exit status of a client that is no longer attached."""
        if left.error is not None:
            raise left.error
        if left.over == "ended":
            self.say(left.note)
            return self._status_soon()
        again = f"`wattline attach {self._job}` attaches again"
        why = f": {left.note}" if left.note else ""
        self.say(f"Detached from job {self._job}{why}. It runs on; {again}.")
        if left.over == "detached":
            return DETACHED_STATUS
        return OF_SIGNAL + left.signal if left.signal else exits.OK

    def _status_soon(self) -> int:
        """The terminal has ended: so has the job, or its attempt."""
        for _ in range(round(ENDED_WITHIN_S / NEXT_LOOK_S)):
            view = self._view()
            if view is not None and view.state in ENDED_STATES:
                return self._ended(view)
            if view is not None and self._has_left(view):
                why = f": {view.reason}" if view.reason else ""
                self.say(f"The terminal has ended; job {self._job} is {view.state}{why}.")
                return exits.OK
            with suppress(queue.Empty):
                queue.SimpleQueue[None]().get(timeout=NEXT_LOOK_S)
        self.say(f"Job {self._job} has not ended yet: `wattline job {self._job}` shows it")
        return exits.OK

    def _has_left(self, view: JobView) -> bool:
        """Whether the attempt with the terminal is over, and the job is not."""
        return view.state in ("PENDING", "HELD") or _newest(view) > self._attempt

    def _put_unseen(self, view: JobView) -> None:
        """Print the log of an attempt that has ended before this client could attach."""
        if _newest(view) > self._attempt:
            with suppress(NotFound, Unavailable, Unreachable):  # it was not started, or is away
                for piece in self._client.log(self._job):
                    put(piece.data)

    def _view(self) -> JobView | None:
        with suppress(Unreachable):
            return self._client.job(self._job)
        return None

    def _ended(self, view: JobView) -> int:
        if view.state != "COMPLETED":  # the status alone does not say why
            self.say(how_it_ended(view).plain)
        return exit_status(view)

    def _cancel(self, number: Signals) -> int:
        """A signal while the job waits: no client would attach to it."""
        self.say(f"Job {self._job} is cancelled.")
        try:
            self._client.cancel(self._job)
        except WattlineError as error:
            self.say(f"It was not cancelled: {error}")
        return OF_SIGNAL + number


def _newest(view: JobView) -> int:
    """Number of the newest attempt; 0 = there is none."""
    return max((one.attempt for one in view.attempts), default=0)
