"""Notifications: on record in the transaction of their cause, until they are delivered."""

import msgspec
import pytest

from support.core.harness import Harness
from support.core.preempting import fill
from support.core.sites import job, site
from wattline_protocol.ids import JobId
from wattline_protocol.job.selection import only
from wattline_protocol.job.spec import PRIORITIES
from wattline_protocol.notify.site_notify import SiteNotify
from wattline_protocol.wire.client_messages import Cancel, Hold
from wattline_scheduler.core.model.effects import Save
from wattline_scheduler.core.model.events import NotificationSettled
from wattline_scheduler.core.model.jobs import notification_book
from wattline_scheduler.core.model.jobs.notification_book import REPEATED_AFTER_S
from wattline_scheduler.notification_record import NotificationRecord
from wattline_scheduler.records import JobRecord

ADA = "ada@example.org"


@pytest.fixture
def h() -> Harness:
    """One node of eight GPUs, and mail to one domain."""
    notify = SiteNotify(("example.org",), "relay:25", "wattline@example.org")
    plain = site().rack("a", 1).site_budget(100.0).build()
    made = Harness(msgspec.structs.replace(plain, notify=notify))
    made.join()
    return made


def notified(h: Harness, number: JobId) -> list[tuple[str, str, str]]:
    found = (r for r in h.disk.of(NotificationRecord) if r.job == number)
    return [(r.on, r.state, r.reason) for r in sorted(found, key=lambda r: r.number)]


def settled(h: Harness, record: NotificationRecord, error: str = "") -> None:
    h.handle(NotificationSettled(record.job, record.number, error))


def test_a_job_that_asks_for_nothing_notifies_nobody(h: Harness) -> None:
    number = h.submit(job().gpus(1))
    h.end_tasks()
    assert h.state_of(number) == "COMPLETED"
    assert not h.disk.of(NotificationRecord)


def test_the_end_is_notified_in_the_transaction_of_the_end(h: Harness) -> None:
    number = h.submit(job().gpus(1).notify(ADA))
    h.effects.clear()
    h.end_tasks()
    assert notified(h, number) == [("end", "COMPLETED", "")]
    saved = [e.record for e in h.effects if isinstance(e, Save)]
    ends = [isinstance(r, JobRecord) and r.ended_unix_s is not None for r in saved]
    assert any(isinstance(r, NotificationRecord) for r in saved[ends.index(True) :])


def test_a_failure_is_notified_once_as_such_or_as_an_end(h: Harness) -> None:
    both = h.submit(job().gpus(1).notify(ADA, "end", "fail"))
    end = h.submit(job().gpus(1).notify(ADA, "end"))
    fail = h.submit(job().gpus(1).notify(ADA, "fail"))
    h.end_tasks(code=3)
    assert [notified(h, number)[0][:2] for number in (both, end, fail)] == [
        ("fail", "FAILED"),
        ("end", "FAILED"),
        ("fail", "FAILED"),
    ]
    assert all(len(notified(h, number)) == 1 for number in (both, end, fail))
    good = h.submit(job().gpus(1).notify(ADA, "fail"))
    h.end_tasks()
    assert notified(h, good) == []


def test_a_cancelled_job_has_not_failed(h: Harness) -> None:
    number = h.submit(job().gpus(1).held().notify(ADA, "begin", "end", "fail"))
    h.do(Cancel(only(number)))
    assert [(on, state) for on, state, _ in notified(h, number)] == [("end", "CANCELLED")]


def test_start_preemption_and_end_of_a_job_that_asks_for_all(h: Harness) -> None:
    low = job().gpus(8).priority(PRIORITIES["low"]).notify(ADA, "begin", "end", "requeue")
    number = fill(h, low, run_s=900.0)
    urgent = h.submit(job().gpus(8).priority(PRIORITIES["high"]))
    h.run(1)
    assert h.state_of(urgent) == "RUNNING"
    on, _, reason = notified(h, number)[-1]
    assert (on, "preempted by job" in reason) == ("requeue", True)
    h.end_tasks()
    h.run(120)
    h.end_tasks()
    assert h.state_of(number) == "COMPLETED"
    assert [on for on, _, _ in notified(h, number)] == ["begin", "requeue", "end"]


def test_a_hold_by_another_is_notified_and_ones_own_is_not(h: Harness) -> None:
    number = h.submit(job().gpus(1).held().notify(ADA, "hold"))
    h.do(Hold(only(number)), user="ada", role="submitter")
    assert notified(h, number) == []
    h.do(Hold(only(number)), user="olga")
    assert [(on, reason) for on, _, reason in notified(h, number)] == [("hold", "held by olga")]


def test_a_hold_and_the_end_after_it_are_two_without_an_event_in_between(h: Harness) -> None:
    number = h.submit(job().gpus(1).notify(ADA, "end", "hold"))
    h.run(1)
    h.do(Hold(only(number)), user="olga")
    h.end_tasks()
    assert [on for on, _, _ in notified(h, number)] == ["hold", "end"]
    hold, end = sorted(h.disk.of(NotificationRecord), key=lambda r: r.number)
    settled(h, hold)
    assert set(h.cluster.state.notifications.open) == {(number, end.number)}


def test_what_happens_to_many_gangs_at_once_is_notified_once(h: Harness) -> None:
    low = job().gpus(1).array(8).priority(PRIORITIES["low"]).notify(ADA, "requeue")
    number = h.submit(low)
    h.run(REPEATED_AFTER_S + 30.0)
    h.submit(job().gpus(8).priority(PRIORITIES["high"]))
    h.run(1)
    assert len(h.events("gang_preempted")) == 8
    assert [on for on, _, _ in notified(h, number)] == ["requeue"]


def test_what_is_delivered_is_open_no_more_and_nothing_is_lost_over_a_restart(h: Harness) -> None:
    one, two = (h.submit(job().gpus(1).notify(ADA)) for _ in range(2))
    h.end_tasks()
    first, second = sorted(h.disk.of(NotificationRecord), key=lambda r: r.job)
    settled(h, first)
    assert h.disk.of(NotificationRecord)[0].outcome == "delivered"
    h.restart_scheduler()
    assert set(h.cluster.state.notifications.open) == {(two, second.number)}
    settled(h, second)
    settled(h, second)
    assert not h.cluster.state.notifications.open
    assert {one, two} == {r.job for r in h.disk.of(NotificationRecord)}
    assert not h.events("notification_given_up")


def test_what_is_given_up_is_in_the_log_without_mailbox_and_path(h: Harness) -> None:
    number = h.submit(job().gpus(1).notify(ADA))
    h.end_tasks()
    settled(h, h.disk.of(NotificationRecord)[0], "SMTP 550")
    (event,) = h.events("notification_given_up")
    assert event.job == number
    assert event.text == "notification of 'work' (end) by mail to example.org given up: SMTP 550"
    assert "ada@" not in event.text
    assert h.disk.of(NotificationRecord)[0].outcome == "given_up"


def test_one_with_a_receiver_of_another_release_is_given_up_with_one_event(h: Harness) -> None:
    number = h.submit(job().gpus(1).notify(ADA))
    h.end_tasks()
    book = h.cluster.state.notifications
    (record,) = book.open.values()
    book.add(msgspec.structs.replace(record, receiver="matrix:#ada"))
    settled(h, record, "this release does not know it")
    (event,) = h.events("notification_given_up")
    assert "by unknown means given up: this release does not know it" in event.text
    assert (event.job, list(book.open)) == (number, [])


def test_a_receiver_that_the_site_file_does_not_allow_is_refused(h: Harness) -> None:
    text = "--notify: [notify] allow of the site file does not list evil.com, but example.org"
    assert h.refuse(job().gpus(1).notify("eve@evil.com")) == text
    assert "not list 10.0.0.1" in h.refuse(job().gpus(1).notify("http://10.0.0.1/x"))
    assert "expected an address" in h.refuse(job().gpus(1).notify("no address"))


def test_beyond_the_bound_of_a_user_the_newest_are_dropped_with_one_event(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notification_book, "MAX_OPEN_OF_ONE", 2)
    for _ in range(4):
        number = h.submit(job().gpus(1).held().notify(ADA))
        h.do(Cancel(only(number)))
    other = h.submit(job().gpus(1).held().notify(ADA), user="bob")
    h.do(Cancel(only(other)))
    owners = [r.owner for r in h.disk.of(NotificationRecord)]
    assert sorted(owners) == ["ada", "ada", "bob"]
    (event,) = h.events("notifications_dropped")
    assert event.text.startswith("notifications of ada are dropped")


def test_a_user_at_the_bound_causes_one_event_until_half_of_it_is_free(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notification_book, "MAX_OPEN_OF_ONE", 4)

    def end(count: int) -> None:
        for _ in range(count):
            number = h.submit(job().gpus(1).held().notify(ADA))
            h.do(Cancel(only(number)))

    def deliver(count: int) -> None:
        for key in list(h.cluster.state.notifications.open)[:count]:
            h.handle(NotificationSettled(*key, ""))

    end(5)
    deliver(1)
    end(2)
    assert len(h.events("notifications_dropped")) == 1
    deliver(2)
    end(3)
    assert len(h.events("notifications_dropped")) == 2
