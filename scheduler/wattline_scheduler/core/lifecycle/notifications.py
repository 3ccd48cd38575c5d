"""Notifications of jobs that ask for them: made in the transaction of their cause, and settled when
the shell has delivered them or has given up."""

from msgspec.structs import replace

from wattline_protocol.ids import Now
from wattline_protocol.job.spec import JobSpec, NotifyOn
from wattline_protocol.notify.receiver import MailReceiver, parse_receiver
from wattline_protocol.notify.site_notify import why_not_notified
from wattline_protocol.text.wording import counted
from wattline_protocol.wire.client_messages import Denied
from wattline_scheduler.core.model.events import NotificationSettled
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.jobs.notification_book import MAX_OPEN_OF_ONE
from wattline_scheduler.core.model.state import State
from wattline_scheduler.notification_record import NotificationRecord


def receiver_refused(state: State, spec: JobSpec) -> Denied | None:
    """Denies a receiver that the site file does not allow; None = allowed."""
    if not spec.notify.to:
        return None
    why = why_not_notified(state.site.notify, parse_receiver(spec.notify.to))
    return Denied("not_allowed", f"--notify: {why}") if why else None


def notify(state: State, job: Job, on: NotifyOn, reason: str, now: Now) -> None:
    """Notifies the receiver that the job names, if it asks for this."""
    wanted, book = job.spec.notify, state.notifications
    if not wanted.to or on not in wanted.on or not book.note_cause(job.id, on, now):
        return
    if book.is_full(job.record.owner):
        _drop(state, job, now)
        return
    record = NotificationRecord(
        job=job.id,
        number=book.next_number(state.journal.next_event),
        owner=job.record.owner,
        receiver=wanted.to,
        on=on,
        name=job.spec.name,
        state=job.record.state,
        reason=reason,
        unix_s=now.unix_s,
    )
    book.add(record)
    state.journal.save(record)


def notify_end(state: State, job: Job, now: Now) -> None:
    """Notifies once of an end, also where both `end` and `fail` are asked for."""
    has_failed = job.record.state in ("FAILED", "TIMEOUT")
    is_fail = has_failed and "fail" in job.spec.notify.on
    notify(state, job, "fail" if is_fail else "end", job.record.reason, now)
    state.notifications.ended(job.id)


def notification_settled(state: State, event: NotificationSettled, now: Now) -> None:
    """Records a delivery, or that it was given up, with an event."""
    record = state.notifications.close((event.job, event.number))
    if record is None:
        return
    outcome = "given_up" if event.error else "delivered"
    state.journal.save(replace(record, outcome=outcome))
    if event.error:
        where = place_of(record.receiver)
        text = f"notification of {record.name!r} ({record.on}) by {where} given up: {event.error}"
        state.journal.note("notification_given_up", text, now, job=record.job, level="warning")


def place_of(written: str) -> str:
    """The receiver in an event, which all members read: neither mailbox nor path."""
    try:
        receiver = parse_receiver(written)
    except ValueError:  # another release saved it
        return "unknown means"
    if isinstance(receiver, MailReceiver):
        return f"mail to {receiver.domain}"
    return f"webhook at {receiver.host}"


def _drop(state: State, job: Job, now: Now) -> None:
    owner = job.record.owner
    if not state.notifications.note_dropped(owner):
        return
    most = counted(MAX_OPEN_OF_ONE, "notification")
    text = f"notifications of {owner} are dropped: {most} of one user may wait for delivery"
    state.journal.note("notifications_dropped", text, now, job=job.id, level="warning")
