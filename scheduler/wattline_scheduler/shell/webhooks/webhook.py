"""One webhook: its bounded queue, and the thread that delivers from it in order."""

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import structlog

from wattline_protocol.site.model import Site, Webhook
from wattline_protocol.trust.keys import KeyFileError, read_secret
from wattline_protocol.views.site_views import EventView

MAX_WAITING = 1_000
"""Events queued for one receiver; beyond it the oldest is dropped."""

RETRY_FIRST_S = 1.0
RETRY_LONGEST_S = 300.0
"""Longest retry interval: doubling, with a random fifth so that receivers are not hit in step."""

GIVE_UP_AFTER_S = 3_600.0
"""An older event is dropped."""

STOP_WITHIN_S = 2.0

TRY_AGAIN = frozenset({408, 425, 429})
"""Temporary refusals; all others except 5xx are permanent."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of one delivery attempt."""

    verdict: Literal["taken", "again", "refused"]
    """taken: 2xx; again: to be retried; refused: rejected by the receiver."""
    detail: str = ""


Post = Callable[[EventView], Outcome]
"""Sends one event; never raises for errors of the network or the receiver."""


def outcome_of(status: int) -> Outcome:
    """The outcome of an HTTP status."""
    if 200 <= status < 300:
        return Outcome("taken")
    if status in TRY_AGAIN or status >= 500:
        return Outcome("again", f"HTTP {status}")
    return Outcome("refused", f"HTTP {status}")


def secret_of(webhook: Webhook) -> bytes:
    """Read each time, so that it can be changed under a running scheduler. Raises KeyFileError."""
    secret = read_secret(Path(webhook.secret_file)).strip()
    if not secret:
        raise KeyFileError(f"{webhook.secret_file} is empty; its content signs the requests")
    return secret.encode()


def check_secrets(site: Site) -> None:
    """Raises KeyFileError for the first webhook whose secret cannot be used."""
    for webhook in site.webhooks:
        secret_of(webhook)


class Sender:
    """Delivers matching events; a slow or unreachable receiver delays no other."""

    def __init__(self, webhook: Webhook, settled: int, post: Callable[[], Post]) -> None:
        """`settled`: newest event that needs no delivery; `post` is called in the thread."""
        self.webhook = webhook
        self._settled = settled
        self._make_post = post
        self._waiting: deque[EventView] = deque()
        self._dropped = 0
        self._changed = threading.Condition()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)

    def start(self) -> None:
        """Start to deliver."""
        self._thread.start()

    @property
    def settled(self) -> int:
        """Number of the newest event up to which nothing is queued."""
        with self._changed:
            return self._settled

    def matches(self, event: EventView) -> bool:
        """Whether its receiver is subscribed to the event."""
        return any(fnmatchcase(event.kind, kind) for kind in self.webhook.events)

    def offer(self, event: EventView) -> None:
        """Queue an event, in order of occurrence; never waits."""
        is_wanted = self.matches(event)
        with self._changed:
            if is_wanted:
                self._waiting.append(event)
                if len(self._waiting) > MAX_WAITING:
                    self._waiting.popleft()
                    self._dropped += 1
                self._changed.notify()
            elif not self._waiting:
                self._settled = event.seq

    def stop(self) -> None:
        """Stop the thread; queued events stay unsettled and are delivered after a restart."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()

    def join(self) -> None:
        """Wait for the thread, but not for a receiver that hangs."""
        self._thread.join(STOP_WITHIN_S)

    # --- in the thread --------------------------------------------------------------------

    def _run(self) -> None:
        post = self._make_post()
        while (event := self._next()) is not None:
            if not self._deliver(post, event):
                return
            with self._changed:
                if self._waiting and self._waiting[0] is event:
                    self._waiting.popleft()
                self._settled = max(self._settled, event.seq)

    def _next(self) -> EventView | None:
        """The oldest queued event; None: stop."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopping or self._waiting)
            if self._dropped:
                log.warning("webhook_full", url=self.webhook.url, dropped=self._dropped)
                self._dropped = 0
            return None if self._is_stopping else self._waiting[0]

    def _deliver(self, post: Post, event: EventView) -> bool:
        """Try until it is acknowledged, rejected or too old; False: stopped in between."""
        pause_s, tries = RETRY_FIRST_S, 0
        while True:
            outcome = post(event)
            tries += 1
            story = {"url": self.webhook.url, "event_seq": event.seq, "reason": outcome.detail}
            if outcome.verdict == "taken":
                if tries > 1:
                    log.info("webhook_back", url=self.webhook.url, tries=tries)
                return True
            if outcome.verdict == "refused" or time.time() - event.unix_s > GIVE_UP_AFTER_S:
                log.warning("webhook_given_up", tries=tries, **story)
                return True
            if tries == 1:
                log.warning("webhook_failed", **story)
            with self._changed:
                if self._changed.wait_for(lambda: self._is_stopping, pause_s * _jitter()):
                    return False
            pause_s = min(2 * pause_s, RETRY_LONGEST_S)


def _jitter() -> float:
    return random.uniform(1.0, 1.2)
