"""The queue of a webhook: bounded, in order, settled only when nothing waits any more."""

import threading
from collections.abc import Callable

import pytest

from support.programs.live_scheduler import until
from wattline_protocol.ids import UnixTime
from wattline_protocol.site.model import Webhook
from wattline_protocol.views.site_views import EventView
from wattline_scheduler.shell.webhooks import webhook as hook_module
from wattline_scheduler.shell.webhooks.webhook import MAX_WAITING, Outcome, Sender
from wattline_scheduler.shell.webhooks.webhook_post import body_of, signature

LONG_AGO = UnixTime(1_700_000_000.0)


def event(seq: int, kind: str = "budget_shed", unix_s: float = 4_000_000_000.0) -> EventView:
    return EventView(seq, UnixTime(unix_s), kind, "ops", f"event {seq}")


class Receiver:
    """Takes events once the gate is open, after so many troubles."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.gate = threading.Event()
        self.outcomes = list(outcomes)
        self.tried: list[int] = []

    def __call__(self, reported: EventView) -> Outcome:
        self.gate.wait()
        self.tried.append(reported.seq)
        return self.outcomes.pop(0) if self.outcomes else Outcome("taken")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hook_module, "RETRY_FIRST_S", 0.0)


def started(receiver: Callable[[EventView], Outcome], *kinds: str, settled: int = 0) -> Sender:
    hook = Sender(Webhook("http://x/", kinds or ("budget_*",), "/s"), settled, lambda: receiver)
    hook.start()
    return hook


def ended(hook: Sender) -> None:
    hook.stop()
    hook.join()


def test_only_what_matches_is_told_in_order() -> None:
    receiver = Receiver()
    receiver.gate.set()
    hook = started(receiver, "budget_*", "over_budget")
    for seq, kind in enumerate(("budget_shed", "job_ended", "over_budget", "budgets"), start=1):
        hook.offer(event(seq, kind))
    until(lambda: receiver.tried == [1, 3], "both")
    until(lambda: hook.settled >= 3, "settled")
    hook.offer(event(5, "job_ended"))
    assert hook.settled == 5, "what nobody wants is settled at once"
    ended(hook)


def test_nothing_is_settled_before_what_waits() -> None:
    receiver = Receiver()
    hook = started(receiver, settled=7)
    hook.offer(event(8))
    hook.offer(event(9, "job_ended"))
    assert hook.settled == 7
    receiver.gate.set()
    until(lambda: hook.settled >= 8, "settled")
    ended(hook)


def test_beyond_the_bound_the_oldest_are_given_up() -> None:
    receiver = Receiver()
    hook = started(receiver)
    for seq in range(1, MAX_WAITING + 11):
        hook.offer(event(seq))
    receiver.gate.set()
    until(lambda: hook.settled == MAX_WAITING + 10, "all")
    assert len(receiver.tried) <= MAX_WAITING + 1
    assert receiver.tried[-1] == MAX_WAITING + 10
    assert receiver.tried == sorted(receiver.tried)
    ended(hook)


def test_troubles_are_tried_again_refusals_and_old_news_are_not() -> None:
    again, refused = Outcome("again", "HTTP 503"), Outcome("refused", "HTTP 410")
    receiver = Receiver(again, again, Outcome("taken"), refused, again)
    receiver.gate.set()
    hook = started(receiver)
    hook.offer(event(1))
    hook.offer(event(2))
    hook.offer(event(3, unix_s=LONG_AGO))
    until(lambda: hook.settled == 3, "all settled")
    assert receiver.tried == [1, 1, 1, 2, 3]
    ended(hook)


def test_a_stop_between_two_tries_leaves_the_event_unsettled() -> None:
    receiver = Receiver(*[Outcome("again")] * 100_000)
    receiver.gate.set()
    hook = started(receiver)
    hook.offer(event(1))
    until(lambda: receiver.tried, "a try")
    ended(hook)
    assert hook.settled == 0


def test_the_signature_covers_time_and_body() -> None:
    body = body_of("lab", event(1))
    one = signature(b"secret", 1_000, body)
    assert one == signature(b"secret", 1_000, body)
    others = (
        signature(b"other", 1_000, body),
        signature(b"secret", 1_001, body),
        signature(b"secret", 1_000, body + b" "),
    )
    assert all(o["x-wattline-signature"] != one["x-wattline-signature"] for o in others)
