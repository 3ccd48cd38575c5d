"""Webhooks of a real scheduler against a real HTTP server: signed, in order, never in the way."""

import hashlib
import hmac
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from support.core.sites import site
from support.programs.http_receiver import HttpReceiver
from support.programs.live_scheduler import (
    SchedulerProcess,
    SiteDirectory,
    WireClient,
    free_endpoints,
    until,
)
from wattline_protocol.site.model import Webhook
from wattline_protocol.wire.client_messages import Done, Restore, Shed
from wattline_scheduler.shell.webhooks.webhook_post import TIMEOUT_S

SECRET = "the site's own secret"


def secret_file(tmp_path: Path, text: str = SECRET, mode: int = 0o600) -> str:
    path = tmp_path / "hook.secret"
    path.write_text(text + "\n", encoding="utf-8")
    path.chmod(mode)
    return str(path)


def directory_for(tmp_path: Path, urls: Sequence[str], kinds: tuple[str, ...]) -> SiteDirectory:
    secret = secret_file(tmp_path)
    hooks = tuple(Webhook(url, kinds, secret) for url in urls)
    plain = site().rack("a", 1).build()
    return SiteDirectory(tmp_path / "site", msgspec.structs.replace(plain, webhooks=hooks))


def shed_and_restore(directory: SiteDirectory) -> None:
    with WireClient(directory.bundle("ops")).welcomed() as ops:
        assert isinstance(ops.ask(Shed(None, fraction=0.25, reason="grid")), Done)
        assert isinstance(ops.ask(Restore(None)), Done)


BUDGETS = ("budget_*",)
EXPECTED = ["budget_shed", "budget_met", "budget_restored"]


def test_what_happens_is_told_signed_and_in_order(tmp_path: Path) -> None:
    with HttpReceiver() as receiver:
        directory = directory_for(tmp_path, [receiver.url], BUDGETS)
        with SchedulerProcess(directory.path, tmp_path / "state").ready():
            shed_and_restore(directory)
            until(lambda: len(receiver.kinds()) == 3, "three notices")
        assert receiver.kinds() == EXPECTED
        first = receiver.received[0]
        assert first.json["site"] == "test"
        assert first.json["who"] == "ops"
        assert "25% shed by ops" in first.json["text"]
        assert first.headers["x-wattline-event"] == f"test-{first.json['seq']}"
        stamp = first.headers["x-wattline-timestamp"]
        signed = f"{stamp}.".encode() + first.body
        digest = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
        assert first.headers["x-wattline-signature"] == f"sha256={digest}"
        assert abs(int(stamp) - time.time()) < 60


def test_a_receiver_that_hangs_delays_neither_the_scheduler_nor_others(tmp_path: Path) -> None:
    with HttpReceiver() as slow, HttpReceiver() as quick:
        slow.hangs.set()
        directory = directory_for(tmp_path, [slow.url, quick.url], BUDGETS)
        with SchedulerProcess(directory.path, tmp_path / "state").ready() as scheduler:
            shed_and_restore(directory)
            until(lambda: len(quick.kinds()) == 3, "three notices for the quick one")
            until(slow.kinds, "the first for the slow one")
            assert slow.kinds() == ["budget_shed"], "one at a time"
            assert scheduler.stop() == 0
    steps_s = [line["seconds"] for line in scheduler.lines if line["event"] == "step_slow"]
    assert max(steps_s, default=0.0) < TIMEOUT_S, "none waited for it"


def test_a_receiver_that_is_away_gets_everything_later_also_after_a_restart(
    tmp_path: Path,
) -> None:
    port = int(free_endpoints(1)[0].rpartition(":")[2])
    directory = directory_for(tmp_path, [f"http://127.0.0.1:{port}/hook"], BUDGETS)
    with SchedulerProcess(directory.path, tmp_path / "state").ready() as scheduler:
        shed_and_restore(directory)
        assert scheduler.wait_for("webhook_failed")["url"].endswith("/hook")
        scheduler.kill()
    with (
        HttpReceiver(port=port) as receiver,
        SchedulerProcess(directory.path, tmp_path / "state").ready() as scheduler,
    ):
        until(lambda: len(receiver.kinds()) == 3, "three notices")
        assert receiver.kinds() == EXPECTED
        with WireClient(directory.bundle("ops")).welcomed() as ops:
            ops.ask(Shed(None, fraction=0.25))
        until(lambda: len(receiver.kinds()) == 5, "what came after")
        assert scheduler.stop() == 0
    with (
        HttpReceiver(port=port) as receiver,
        SchedulerProcess(directory.path, tmp_path / "state").ready(),
    ):
        shed_and_restore(directory)
        until(lambda: "budget_restored" in receiver.kinds(), "the newest notice")
        assert receiver.kinds()[0] == "budget_shed", "what was taken is not sent again"
        assert len(receiver.kinds()) == 3


def test_a_receiver_with_troubles_is_tried_again_one_that_refuses_is_not(tmp_path: Path) -> None:
    with HttpReceiver(status=503) as troubled, HttpReceiver(status=410) as refusing:
        directory = directory_for(tmp_path, [troubled.url, refusing.url], BUDGETS)
        with SchedulerProcess(directory.path, tmp_path / "state").ready() as scheduler:
            shed_and_restore(directory)
            until(lambda: len(troubled.received) >= 2, "a second try")
            assert troubled.kinds() == ["budget_shed"]
            troubled.status = 200
            until(lambda: len(troubled.kinds()) == 3, "all of them in the end")
            until(lambda: len(refusing.kinds()) == 3, "one try each")
            assert len(refusing.received) == 3
            scheduler.wait_for("webhook_given_up")


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [("", 0o600, "is empty"), (SECRET, 0o644, "others can read it (mode 0644)")],
)
def test_a_secret_that_cannot_be_used_stops_the_start(
    tmp_path: Path, text: str, mode: int, words: str
) -> None:
    directory = directory_for(tmp_path, ["http://127.0.0.1:9/hook"], BUDGETS)
    secret_file(tmp_path, text, mode)
    with SchedulerProcess(directory.path, tmp_path / "state") as scheduler:
        assert scheduler.gone() == 2
        assert words in scheduler.wait_for("scheduler_not_started")["reason"]
