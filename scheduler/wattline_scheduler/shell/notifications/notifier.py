"""Delivers notifications in a few threads; the loop offers them and takes what came of them."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import structlog

from wattline_protocol.notify.receiver import MailReceiver, Receiver, parse_receiver
from wattline_protocol.notify.site_notify import why_not_notified
from wattline_protocol.site.model import Site
from wattline_scheduler.core.model.events import NotificationSettled
from wattline_scheduler.notification_record import NotificationRecord
from wattline_scheduler.shell.notifications.delivery_queue import Delivery, DeliveryQueue
from wattline_scheduler.shell.webhooks.webhook import STOP_WITHIN_S, Outcome

WORKERS = 4

MAIL = "mail"
"""The lane of the relay."""

UNKNOWN_RECEIVER = "this release does not know receivers of its form"
"""Without the receiver, as all members read the event."""

log = structlog.get_logger()

Deliver = Callable[[NotificationRecord, Receiver], Outcome]
"""One try; never raises for errors of the network or the receiver."""


class Notifier:
    """Threads start with the first notification: most sites have none."""

    def __init__(self, site: Site, make: Callable[[Site], Deliver] | None = None) -> None:
        """`make` is called in each thread."""
        self._site = site
        self._make = make or _delivering
        self._queue = DeliveryQueue()
        self._settled: queue.SimpleQueue[NotificationSettled] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._is_stopping = False
        self._threads: list[threading.Thread] = []

    def start(self, waiting: Iterable[NotificationRecord]) -> None:
        """Deliver what earlier runs did not."""
        for record in waiting:
            self.offer(record)

    def offer(self, record: NotificationRecord) -> None:
        """Deliver one that is on disk; never waits. One with an outcome needs no delivery."""
        if record.outcome:
            return
        try:
            lane = _lane_of(parse_receiver(record.receiver))
        except ValueError:  # another release saved it: it must not end each run of this one
            self._settled.put(NotificationSettled(record.job, record.number, UNKNOWN_RECEIVER))
            return
        with self._changed:
            self._queue.add(record, lane, time.monotonic())
            self._changed.notify()
        if not self._threads:
            self._begin()

    def take(self) -> Iterator[NotificationSettled]:
        """What was delivered or given up since the last call."""
        while not self._settled.empty():
            yield self._settled.get()

    def close(self) -> None:
        """Stop; what is under way is tried again after the next start."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        deadline_s = time.monotonic() + STOP_WITHIN_S
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))

    def _begin(self) -> None:
        """Fewer threads suffice. Without any, the next notification tries again."""
        for number in range(WORKERS):
            thread = threading.Thread(target=self._run, name=f"notify-{number}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the host or its user has no more of them
                log.warning("notifications_wait", reason=str(error), threads=number)
                return
            self._threads.append(thread)

    # --- in the threads -------------------------------------------------------------------

    def _run(self) -> None:
        deliver = self._make(self._site)
        while (one := self._next()) is not None:
            outcome = self._tried(deliver, one.record)
            with self._changed:
                if self._is_stopping and outcome.verdict != "taken":
                    return
                error = self._queue.settle(one, outcome, time.monotonic(), time.time())
                self._changed.notify_all()
            _report(one, outcome, error)
            if error is not None:
                self._settled.put(NotificationSettled(one.record.job, one.record.number, error))

    def _next(self) -> Delivery | None:
        """The next one that is due; None: stop."""
        with self._changed:
            while not self._is_stopping:
                now_s = time.monotonic()
                one = self._queue.take(now_s)
                if one is not None:
                    return one
                due_s = self._queue.due_s()
                self._changed.wait(None if due_s is None else max(0.0, due_s - now_s))
        return None

    def _tried(self, deliver: Deliver, record: NotificationRecord) -> Outcome:
        receiver = parse_receiver(record.receiver)
        why = why_not_notified(self._site.notify, receiver)
        if why:  # the site file was changed since
            return Outcome("refused", why)
        try:
            return deliver(record, receiver)
        except Exception as error:  # a fault of ours must not end the thread, nor be repeated
            log.exception("notification_failed", job=record.job, number=record.number)
            return Outcome("refused", f"internal error ({type(error).__name__})")


def _delivering(site: Site) -> Deliver:
    """Loads the clients of mail and HTTP in a thread, not in the scheduler's."""
    from wattline_scheduler.shell.notifications.delivery import Delivering

    return Delivering(site.name, site.notify)


def _lane_of(receiver: Receiver) -> str:
    return MAIL if isinstance(receiver, MailReceiver) else f"{receiver.host}:{receiver.port}"


def _report(one: Delivery, outcome: Outcome, error: str | None) -> None:
    story = {"job": one.record.job, "number": one.record.number, "lane": one.lane}
    if error:
        log.warning("notification_given_up", tries=one.tries + 1, reason=error, **story)
    elif error is None and one.tries == 0:
        log.warning("notification_failed", reason=outcome.detail, **story)
