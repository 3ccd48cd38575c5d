"""Delivery of notifications: lanes, retries, threads, and what a message says."""

import email
import threading
from collections.abc import Callable
from email import policy

import msgspec
import pytest

from support.core.sites import site
from support.programs.live_scheduler import until
from wattline_protocol.ids import JobId, UnixTime, UserName
from wattline_protocol.job.spec import NotifyOn
from wattline_protocol.notify.receiver import Receiver
from wattline_protocol.notify.site_notify import SiteNotify
from wattline_protocol.site.model import Site
from wattline_scheduler.core.model.events import NotificationSettled
from wattline_scheduler.notification_record import NotificationRecord
from wattline_scheduler.shell.notifications import delivery_queue
from wattline_scheduler.shell.notifications.delivery_queue import (
    GIVE_UP_AFTER_S,
    RETRY_FIRST_S,
    RETRY_LONGEST_S,
    Delivery,
    DeliveryQueue,
)
from wattline_scheduler.shell.notifications.message import body_of, mail_of
from wattline_scheduler.shell.notifications.notifier import UNKNOWN_RECEIVER, Deliver, Notifier
from wattline_scheduler.shell.webhooks.webhook import Outcome

NOW_UNIX_S = 4_000_000_000.0
TAKEN, AGAIN, REFUSED = (
    Outcome("taken"),
    Outcome("again", "HTTP 503"),
    Outcome("refused", "HTTP 410"),
)


def record(
    number: int,
    receiver: str = "ada@example.org",
    on: NotifyOn = "end",
    reason: str = "",
    owner: str = "ada",
) -> NotificationRecord:
    return NotificationRecord(
        JobId(number),
        number,
        UserName(owner),
        receiver,
        on,
        "train",
        "COMPLETED",
        reason,
        UnixTime(NOW_UNIX_S),
    )


def taken(queue: DeliveryQueue, now_s: float) -> Delivery:
    one = queue.take(now_s)
    assert one is not None
    return one


def test_one_of_a_lane_is_under_way_at_a_time() -> None:
    queue = DeliveryQueue()
    for number, lane in ((1, "mail"), (2, "mail"), (3, "x:443")):
        queue.add(record(number), lane, 0.0)
    first, other = taken(queue, 0.0), taken(queue, 0.0)
    assert (first.record.job, other.record.job) == (1, 3)
    assert queue.take(0.0) is None
    assert queue.due_s() is None, "what waits for a lane is due when that is free"
    assert queue.settle(first, TAKEN, 1.0, NOW_UNIX_S) == ""
    assert taken(queue, 1.0).record.job == 2


def test_many_of_one_user_delay_others_by_one_try() -> None:
    """Each port of a host is a lane, and all of one lane may be of one user."""
    queue = DeliveryQueue()
    for number in range(1, 101):
        queue.add(record(number, owner="eve"), f"x:{number}", 0.0)
        queue.add(record(1000 + number, owner="eve"), "mail", 0.0)
    first = [taken(queue, 0.0) for _ in range(4)]
    assert {one.record.owner for one in first} == {"eve"}
    queue.add(record(1), "mail", 3.0)
    for one in first:
        queue.settle(one, AGAIN, 5.0, NOW_UNIX_S)
    assert taken(queue, 5.0).record.owner == "ada"
    assert taken(queue, 5.0).record.owner == "eve"


def test_a_failure_waits_longer_each_time_and_lets_others_pass() -> None:
    queue = DeliveryQueue()
    queue.add(record(1), "mail", 0.0)
    queue.add(record(2), "mail", 0.0)
    one = taken(queue, 0.0)
    assert queue.settle(one, AGAIN, 0.0, NOW_UNIX_S) is None
    assert queue.settle(taken(queue, 0.0), TAKEN, 0.0, NOW_UNIX_S) == ""
    now_s, waits = 0.0, []
    for _ in range(10):
        due_s = queue.due_s()
        assert due_s is not None
        assert queue.take(due_s - 0.001) is None
        waits.append(due_s - now_s)
        now_s = due_s
        queue.settle(taken(queue, now_s), AGAIN, now_s, NOW_UNIX_S)
    assert waits[:3] == [RETRY_FIRST_S, 2 * RETRY_FIRST_S, 4 * RETRY_FIRST_S]
    assert waits[-1] == RETRY_LONGEST_S


def test_what_is_refused_or_a_day_old_is_given_up() -> None:
    queue = DeliveryQueue()
    queue.add(record(1), "mail", 0.0)
    assert queue.settle(taken(queue, 0.0), REFUSED, 0.0, NOW_UNIX_S) == "HTTP 410"
    queue.add(record(2), "mail", 0.0)
    late_s = NOW_UNIX_S + GIVE_UP_AFTER_S + 1.0
    assert queue.settle(taken(queue, 0.0), AGAIN, 0.0, late_s) == "HTTP 503"
    assert queue.due_s() is None


def there(*allow: str) -> Site:
    notify = SiteNotify(allow or ("example.org",), "relay:25", "wattline@example.org")
    return msgspec.structs.replace(site().rack("a", 1).build(), notify=notify)


def started(deliver: Deliver, place: Site | None = None) -> Notifier:
    return Notifier(place or there(), lambda _: deliver)


def all_of(notifier: Notifier, count: int) -> list[NotificationSettled]:
    found: list[NotificationSettled] = []

    def are_there() -> bool:
        found.extend(notifier.take())
        return len(found) >= count

    until(are_there, f"{count} settled")
    return found


def test_a_host_that_hangs_delays_no_other() -> None:
    gate = threading.Event()

    def deliver(one: NotificationRecord, to: Receiver) -> Outcome:
        if "slow" in one.receiver:
            gate.wait()
        return TAKEN

    notifier = started(deliver, there("slow.org", "quick.org"))
    for number in range(1, 9):
        host = "slow" if number % 2 else "quick"
        notifier.offer(record(number, f"https://{host}.org/"))
    assert sorted(one.job for one in all_of(notifier, 4)) == [2, 4, 6, 8]
    gate.set()
    assert sorted(one.job for one in all_of(notifier, 4)) == [1, 3, 5, 7]
    notifier.close()


def test_failures_are_tried_again_until_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_queue, "RETRY_FIRST_S", 0.0)
    outcomes = [AGAIN, AGAIN, TAKEN]
    notifier = started(lambda one, to: outcomes.pop(0))
    notifier.start([record(1)])
    assert all_of(notifier, 1) == [NotificationSettled(JobId(1), 1, "")]
    assert outcomes == []
    notifier.close()


def _broken(one: NotificationRecord, to: Receiver) -> Outcome:
    raise LookupError


@pytest.mark.parametrize(
    ("deliver", "place", "error"),
    [
        (lambda one, to: REFUSED, there(), "HTTP 410"),
        (_broken, there(), "internal error (LookupError)"),
        (
            lambda one, to: TAKEN,
            there("other.org"),
            "[notify] allow of the site file does not list example.org, but other.org",
        ),
    ],
    ids=["refused", "fault", "site file changed"],
)
def test_what_cannot_be_delivered_is_given_up_with_the_reason(
    deliver: Callable[[NotificationRecord, Receiver], Outcome], place: Site, error: str
) -> None:
    notifier = started(deliver, place)
    notifier.offer(record(1))
    assert all_of(notifier, 1) == [NotificationSettled(JobId(1), 1, error)]
    notifier.close()


def test_without_a_thread_notifications_wait_for_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_thread_is_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    notifier = started(lambda one, to: TAKEN)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread_is_left)
        notifier.offer(record(1))
    notifier.offer(record(2))
    assert [one.job for one in all_of(notifier, 2)] == [1, 2]
    notifier.close()


def test_one_with_an_outcome_is_not_delivered_again() -> None:
    notifier = started(_broken)
    notifier.offer(msgspec.structs.replace(record(1), outcome="delivered"))
    notifier.close()
    assert list(notifier.take()) == []


def test_one_with_a_receiver_of_another_release_is_given_up_and_the_others_are_delivered() -> None:
    notifier = started(lambda one, to: TAKEN)
    notifier.start([record(1, "matrix:#ops"), record(2), record(3, "https://example.org/x")])
    settled = sorted(all_of(notifier, 3), key=lambda one: one.job)
    assert settled[0] == NotificationSettled(JobId(1), 1, UNKNOWN_RECEIVER)
    assert [one.error for one in settled[1:]] == ["", ""]
    notifier.close()


HOSTILE = "lost\r\nBcc: eve@evil.com\r\n\r\nbody\x1b[2J\x00"


def test_no_text_adds_a_header_or_controls_a_terminal() -> None:
    message = mail_of("lab", "wattline@example.org", record(7, reason=HOSTILE))
    read = email.message_from_bytes(message.as_bytes(), policy=policy.SMTP)
    assert sorted(read.keys()) == sorted(
        [
            *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"),
            *("Content-Type", "Content-Transfer-Encoding", "MIME-Version"),
        ]
    )
    text = read.get_body().get_content()  # type: ignore[union-attr]
    assert "\x1b" not in text
    assert "\x00" not in text
    assert "Reason: lost" in text
    hostile = msgspec.structs.replace(record(7), name="x\r\nBcc: eve@evil.com")
    assert mail_of("lab", "wattline@example.org", hostile)["Bcc"] is None


def test_mail_and_post_say_what_the_list_of_jobs_says() -> None:
    one = record(7, reason="exit code 3", on="fail")
    mail = mail_of("lab", "wattline@example.org", one)
    assert mail["Subject"] == "[lab] job 7 (train) COMPLETED"
    assert mail["Message-ID"] == "<lab-7-7@example.org>"
    assert "Reason: exit code 3" in mail.get_content()
    assert msgspec.json.decode(body_of("lab", one)) == {
        "site": "lab",
        "id": "lab-7-7",
        "on": "fail",
        "job": 7,
        "name": "train",
        "owner": "ada",
        "state": "COMPLETED",
        "reason": "exit code 3",
        "unix_s": NOW_UNIX_S,
    }
