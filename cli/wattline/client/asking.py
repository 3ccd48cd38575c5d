"""Requests of a client: one request and its answer, or a watch with many."""

import os
import queue
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self, TypeVar

from wattline.client.connection import Connection
from wattline.client.errors import DENIALS, RequestDenied, Unreachable, WattlineError
from wattline.client.link import Pending
from wattline.client.lookup import find_bundle
from wattline.client.reach import UnknownHost, trouble
from wattline_protocol.trust.keys import JoinBundle
from wattline_protocol.views.site_deltas import (
    EMPTY,
    MissedDelta,
    Picture,
    SiteDelta,
    apply,
    whole_picture,
)
from wattline_protocol.wire.client_messages import (
    Answer,
    ClientWelcome,
    Denied,
    Done,
    GetPower,
    Request,
    SiteNow,
)
from wattline_protocol.wire.subscriptions import WatchSite

A = TypeVar("A")

TROUBLE_AFTER_S = 1.0
"""A connection that is not established by then is diagnosed."""

STALL_FACTOR = 4
STALL_LEAST_S = 4.0
"""A watch of the site without data for that many periods raises Unreachable."""

DEFAULT_TIMEOUT_S = 10.0
"""How long a request waits for its answer; longer than a scheduler restart."""


class RequestClient:
    """A connection to one site's scheduler, opened at once and re-established by itself."""

    def __init__(
        self,
        bundle: JoinBundle | str | os.PathLike[str] | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        on_trouble: Callable[[str], None] | None = None,
    ) -> None:
        """`on_trouble` is called once, after a second without a connection, with the reason."""
        self._on_trouble = on_trouble
        self._bundle = bundle if isinstance(bundle, JoinBundle) else find_bundle(bundle)
        self._timeout_s = timeout_s
        self._connection = Connection(self._bundle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and end every call that waits for it."""
        self._connection.close()

    @property
    def is_closed(self) -> bool:
        """`close` was called."""
        return self._connection.link.closing

    @property
    def me(self) -> ClientWelcome:
        """Site, user and role as known to the scheduler; waits for the connection."""
        link = self._connection.link
        if link.welcome is None:
            link.wait_settled(min(TROUBLE_AFTER_S, self._timeout_s))
        if link.welcome is None:
            self.ask(GetPower())  # raises the error
        if link.welcome is None:
            raise self._unreachable()
        return link.welcome

    def ask(self, request: Request, *, timeout_s: float | None = None) -> Answer:
        """Send one request and return its answer; Denied is raised as its exception."""
        pending = self._connection.link.ask(request)
        try:
            return self._next(pending, self._timeout_s if timeout_s is None else timeout_s)
        finally:
            self._connection.link.drop(pending)

    def act(self, request: Request, *, timeout_s: float | None = None) -> str:
        """Request an act; returns its result as text."""
        return self.get(request, Done, timeout_s=timeout_s).text

    def get(self, request: Request, kind: type[A], *, timeout_s: float | None = None) -> A:
        """The answer, which must be of that kind."""
        return _of_kind(self.ask(request, timeout_s=timeout_s), kind)

    @property
    def clock_offset_s(self) -> float:
        """Seconds that this host's wall clock is ahead of the scheduler's; 0 until known."""
        return self._connection.link.clock_offset_s

    def watch(self, request: Request, kind: type[A], stall_s: float | None) -> Iterator[A]:
        """Answers for as long as the caller iterates; None: silence is no error.

        Of a paced watch the next one is sent once the caller has requested it.
        """
        for answer in self.watch_any(request, stall_s):
            yield _of_kind(answer, kind)

    def watch_any(self, request: Request, stall_s: float | None) -> Iterator[Answer]:
        """The same for answers of several kinds."""
        link = self._connection.link
        is_paced = isinstance(request, WatchSite) and request.is_paced
        pending = link.ask(request)
        patience_s: float | None = self._timeout_s
        try:
            while True:
                # The first answer must come in time, or the scheduler is unreachable.
                yield self._next(pending, patience_s)
                patience_s = stall_s
                if is_paced and link.welcome is not None and link.welcome.unix_s:
                    link.seen(pending)
        finally:
            link.drop(pending)

    def watch_pictures(self, period_s: float = 1.0) -> Iterator[Picture]:
        """A picture of the site now and every `period_s`, always the newest, with all GPUs, up to
        10,000 waiting and 10,000 running jobs. The scheduler sends what changed: rows that did not
        change are the same objects. Raises Unreachable when they stop arriving."""
        request = WatchSite(period_s, is_paced=True, deltas=True)
        while True:
            try:
                yield from _pictures(self.watch_any(request, stall_s(period_s)))
            except MissedDelta:
                continue  # a new watch begins with a full picture

    def _next(self, pending: Pending, timeout_s: float | None) -> Answer:
        try:
            answer = self._first_answer(pending, timeout_s)
        except queue.Empty:
            raise self._unreachable() from None
        if isinstance(answer, WattlineError):
            raise answer
        if isinstance(answer, Denied):
            raise DENIALS.get(answer.kind, RequestDenied)(answer.reason)
        return answer

    def _first_answer(self, pending: Pending, timeout_s: float | None) -> Answer | WattlineError:
        """Raises queue.Empty, and Unreachable early where waiting does not help."""
        early_s = TROUBLE_AFTER_S if timeout_s is None else min(TROUBLE_AFTER_S, timeout_s)
        try:
            return pending.answers.get(timeout=early_s)
        except queue.Empty:
            left_s = None if timeout_s is None else timeout_s - early_s
        if self._connection.link.welcome is None:
            self._report_trouble(left_s)
        return pending.answers.get(timeout=left_s)

    def _report_trouble(self, left_s: float | None) -> None:
        where = self._bundle.client_endpoint
        try:
            why = trouble(where)
        except UnknownHost as error:
            raise Unreachable(f"{error}; the bundle names the scheduler at {where}") from error
        if why and self._on_trouble is not None:
            tried = "" if left_s is None else f" for {left_s:.0f} s more"
            self._on_trouble(f"{why}; retrying{tried} (Ctrl-C to stop)")
            self._on_trouble = None

    def _unreachable(self) -> Unreachable:
        where = self._bundle.client_endpoint
        link = self._connection.link
        if link.welcome is not None:
            return Unreachable(f"the scheduler at {where} does not answer in time")
        why = link.trouble or f"nothing answers at {where}"
        site = self._bundle.site
        hint = f"is the scheduler of site {site} running, and {where} its client_endpoint?"
        return Unreachable(f"{why}; {hint}")


def stall_s(period_s: float) -> float:
    """How long a watch of the site may be silent."""
    return max(STALL_LEAST_S, STALL_FACTOR * period_s)


def _pictures(answers: Iterator[Answer]) -> Iterator[Picture]:
    """Each whole one. Raises MissedDelta."""
    picture = EMPTY
    for answer in answers:
        if isinstance(answer, SiteNow):  # of an earlier scheduler
            picture = whole_picture(answer.site)
        else:
            picture = apply(picture, _of_kind(answer, SiteDelta))
        if picture.is_whole:
            yield picture


def _of_kind(answer: Answer, kind: type[A]) -> A:
    if not isinstance(answer, kind):
        raise WattlineError(
            f"the scheduler answered {type(answer).__name__} where {kind.__name__} was due; "
            "install the same version on both sides"
        )
    return answer
