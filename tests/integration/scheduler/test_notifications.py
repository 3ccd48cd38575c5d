"""Notifications of a real scheduler to a real mail relay and a real HTTP server."""

import itertools
import shutil
import sqlite3
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest

from support.core.sites import JobBuilder, job, site
from support.programs.http_receiver import HttpReceiver
from support.programs.live_scheduler import (
    SchedulerProcess,
    SiteDirectory,
    WireClient,
    free_endpoints,
    until,
)
from support.programs.smtp_receiver import SmtpReceiver
from wattline_protocol.ids import JobId, UnixTime, UserName
from wattline_protocol.job.selection import only
from wattline_protocol.notify.receiver import parse_receiver
from wattline_protocol.notify.site_notify import SiteNotify
from wattline_protocol.wire.client_messages import (
    Acted,
    Cancel,
    Denied,
    GetJob,
    Jobs,
    Submit,
    Submitted,
)
from wattline_protocol.wire.event_log import Events, ListEvents
from wattline_scheduler.notification_record import NotificationRecord
from wattline_scheduler.shell.notifications import delivery
from wattline_scheduler.shell.notifications.delivery import Delivering
from wattline_scheduler.store.verify import DB_NAME

ADA = "ada@example.org"
SENDER = "wattline@example.org"
LOOPBACK = "127.0.0.1"
TOKENS = itertools.count()


def directory_for(tmp_path: Path, notify: SiteNotify) -> SiteDirectory:
    plain = site().rack("a", 1).build()
    return SiteDirectory(tmp_path / "site", msgspec.structs.replace(plain, notify=notify))


def submitted(client: WireClient, wanted: JobBuilder, token: str = "t") -> JobId:
    answer = client.ask(Submit(wanted.build(), token))
    assert isinstance(answer, Submitted), answer
    return answer.job


def end(directory: SiteDirectory, *receivers: str) -> list[JobId]:
    """Jobs of ada that end at once, one for each receiver."""
    with WireClient(directory.bundle("ada")).welcomed() as ada:
        jobs = [submitted(ada, job().held().notify(to), f"t{next(TOKENS)}") for to in receivers]
        for number in jobs:
            assert isinstance(ada.ask(Cancel(only(number))), Acted)
    return jobs


def event_text(directory: SiteDirectory, kind: str) -> str:
    """Of the newest event of this kind; empty = there is none."""
    with WireClient(directory.bundle("ops")).welcomed() as ops:
        page = ops.ask(ListEvents(-100, 100))
    assert isinstance(page, Events)
    return next((one.text for one in reversed(page.events) if one.kind == kind), "")


def test_mail_and_post_of_an_end_come_once_each(tmp_path: Path) -> None:
    with SmtpReceiver() as relay, HttpReceiver() as receiver:
        notify = SiteNotify(("example.org", LOOPBACK), relay.endpoint, SENDER)
        directory = directory_for(tmp_path, notify)
        with SchedulerProcess(directory.path, tmp_path / "state").ready() as scheduler:
            mailed, posted = end(directory, ADA, receiver.url)
            until(lambda: relay.received and receiver.received, "both")
            assert scheduler.stop() == 0
        (mail,), (post,) = relay.received, receiver.received
    assert (mail.sender, mail.recipients) == (SENDER, (ADA,))
    assert mail.message["Subject"] == f"[test] job {mailed} (work) CANCELLED"
    assert post.json["job"] == posted
    assert post.json["state"] == "CANCELLED"
    assert post.headers["x-wattline-notification"] == post.json["id"]


def test_a_restart_between_end_and_delivery_loses_none_and_repeats_none_that_is_settled(
    tmp_path: Path,
) -> None:
    port = int(free_endpoints(1)[0].rpartition(":")[2])
    directory = directory_for(tmp_path, SiteNotify(("example.org",), f"{LOOPBACK}:{port}", SENDER))
    with SchedulerProcess(directory.path, tmp_path / "state").ready() as scheduler:
        jobs = end(directory, *[ADA] * 3)
        assert scheduler.wait_for("notification_failed")["lane"] == "mail"
        scheduler.kill()
    with SmtpReceiver(port=port) as relay:
        with SchedulerProcess(directory.path, tmp_path / "state").ready() as scheduler:
            until(lambda: len(relay.received) == 3, "all of them")
            (last,) = end(directory, ADA)
            until(lambda: len(relay.received) == 4, "one more")
            until(lambda: is_settled(tmp_path / "state", 4), "all on record as delivered")
            scheduler.kill()
        with SchedulerProcess(directory.path, tmp_path / "state").ready():
            (newest,) = end(directory, ADA)
            until(lambda: len(relay.received) >= 5, "the newest")
            expected = [f"[test] job {n} (work) CANCELLED" for n in (*jobs, last, newest)]
            assert sorted(relay.subjects()) == sorted(expected), "none twice"


def is_settled(state: Path, count: int) -> bool:
    with closing(sqlite3.connect(f"file:{state / DB_NAME}?mode=ro", uri=True)) as db:
        found = db.execute("SELECT count(*) FROM notifications WHERE outcome = 'delivered'")
        return bool(found.fetchone()[0] == count)


def test_a_receiver_that_refuses_is_given_up_with_an_event_and_no_mailbox_in_it(
    tmp_path: Path,
) -> None:
    with SmtpReceiver() as relay, HttpReceiver(status=410) as receiver:
        relay.replies["RCPT"] = "550 no such user"
        notify = SiteNotify(("example.org", LOOPBACK), relay.endpoint, SENDER)
        directory = directory_for(tmp_path, notify)
        with SchedulerProcess(directory.path, tmp_path / "state").ready():
            end(directory, ADA)
            until(lambda: event_text(directory, "notification_given_up"), "the event")
            said = "notification of 'work' (end) by mail to example.org given up: SMTP 550"
            assert event_text(directory, "notification_given_up") == said
            end(directory, receiver.url)
            until(lambda: "410" in event_text(directory, "notification_given_up"), "the event")
            assert "/hook" not in event_text(directory, "notification_given_up")
            assert len(receiver.received) == 1


def test_only_owner_and_operators_read_the_receiver_and_unlisted_hosts_are_refused(
    tmp_path: Path,
) -> None:
    directory = directory_for(tmp_path, SiteNotify(("hooks.example.org",)))
    url = "https://hooks.example.org/T000/secret"
    with SchedulerProcess(directory.path, tmp_path / "state").ready():
        with WireClient(directory.bundle("ada")).welcomed() as ada:
            number = submitted(ada, job().held().notify(url))
            refused = ada.ask(Submit(job().notify("http://169.254.169.254/x").build(), "u"))
        assert isinstance(refused, Denied)
        assert "does not list 169.254.169.254" in refused.reason
        seen = {}
        for name in ("ada", "bob", "ops"):
            with WireClient(directory.bundle(name)).welcomed() as client:
                found = client.ask(GetJob(number))
            assert isinstance(found, Jobs)
            (view,) = found.jobs
            assert view.spec is not None
            seen[name] = view.spec.notify.to
        assert seen == {"ada": url, "bob": "(hidden)", "ops": url}


# --- One try ------------------------------------------------------------------------------


def record(to: str) -> NotificationRecord:
    return NotificationRecord(
        JobId(7), 9, UserName("ada"), to, "end", "train", "COMPLETED", "", UnixTime(4e9)
    )


def tried(notify: SiteNotify, to: str) -> tuple[str, str]:
    outcome = Delivering("lab", notify)(record(to), parse_receiver(to))
    return outcome.verdict, outcome.detail


def test_a_name_that_resolves_into_the_own_network_is_no_way_into_it() -> None:
    with HttpReceiver() as receiver:
        url = f"http://localhost:{receiver.port}/hook"
        verdict, detail = tried(SiteNotify(("localhost",)), url)
        assert verdict == "refused"
        assert "localhost resolves to" in detail
        assert receiver.received == []
        listed = SiteNotify(("localhost", "127.0.0.0/8"))
        assert tried(listed, url) == ("taken", "")
        assert receiver.received[0].headers["host"] == f"localhost:{receiver.port}"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    with HttpReceiver() as other:

        class Redirecting(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.send_response(status)
                self.send_header("location", other.url)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as above
                del format, args

        with served(Redirecting) as url:
            said = f"HTTP {status}: redirects are not followed"
            assert tried(SiteNotify((LOOPBACK,)), url) == ("refused", said)
        assert other.received == []


@contextmanager
def served(
    handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """One HTTP server for these answers; its URL."""
    server = HTTPServer((LOOPBACK, 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{'http' if tls is None else 'https'}://{LOOPBACK}:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Taking(BaseHTTPRequestHandler):
    """Takes every POST."""

    def do_POST(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as above
        del format, args


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_https_reaches_a_host_of_a_trusted_certificate_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ("-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "pem"))
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    names = ("-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1")
    command = ["openssl", "req", "-x509", *kind, *names, *files]
    subprocess.run(command, check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "pem", tmp_path / "key")
    with served(Taking, tls) as url:
        verdict, detail = tried(SiteNotify((LOOPBACK,)), url)
        assert (verdict, "certificate" in detail.lower()) == ("again", True)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "pem"))
        assert tried(SiteNotify((LOOPBACK,)), url) == ("taken", "")
        by_name = url.replace(LOOPBACK, "localhost")
        verdict, detail = tried(SiteNotify(("localhost", "127.0.0.0/8")), by_name)
        assert (verdict, "localhost" in detail) == ("again", True), "the name is checked too"


@pytest.mark.parametrize(
    ("status", "verdict"), [(204, "taken"), (503, "again"), (429, "again"), (404, "refused")]
)
def test_what_a_status_means(status: int, verdict: str) -> None:
    with HttpReceiver(status=status) as receiver:
        assert tried(SiteNotify((LOOPBACK,)), receiver.url)[0] == verdict


@pytest.mark.parametrize(
    ("verb", "reply", "outcome"),
    [
        ("RCPT", "450 later", ("again", "SMTP 450")),
        ("RCPT", "550 unknown", ("refused", "SMTP 550")),
        ("MAIL", "451 later", ("again", "SMTP 451")),
        ("DATA", "554 no", ("refused", "SMTP 554")),
        (".", "452 full", ("again", "SMTP 452")),
        ("QUIT", "421 gone", ("taken", "")),
    ],
)
def test_what_a_reply_of_the_relay_means(verb: str, reply: str, outcome: tuple[str, str]) -> None:
    with SmtpReceiver() as relay:
        relay.replies[verb] = reply
        notify = SiteNotify(("example.org",), relay.endpoint, SENDER)
        assert tried(notify, ADA) == outcome


def test_a_relay_has_longer_than_the_receiver_of_a_post(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that checks a message for a minute would get it again at each try."""
    monkeypatch.setattr(delivery, "TIMEOUT_S", 1e-9)
    monkeypatch.setattr(delivery, "DEADLINE_S", 0.0)
    with SmtpReceiver() as relay:
        assert tried(SiteNotify(("example.org",), relay.endpoint, SENDER), ADA) == ("taken", "")
        assert len(relay.received) == 1


def test_a_relay_without_tls_gets_nothing_where_the_site_wants_it() -> None:
    with SmtpReceiver() as relay:
        notify = SiteNotify(("example.org",), relay.endpoint, SENDER, "starttls")
        verdict, detail = tried(notify, ADA)
        assert (verdict, "STARTTLS" in detail) == ("again", True)
        assert relay.received == []


def test_a_peer_that_never_finishes_its_answer_is_cut_at_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "DEADLINE_S", 0.3)
    monkeypatch.setattr(delivery, "TIMEOUT_S", 60.0)
    release = threading.Event()

    class Dripping(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.wfile.write(b"HTTP/1.1 2")
            self.wfile.flush()
            release.wait()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as above
            del format, args

    with served(Dripping) as url:
        assert tried(SiteNotify((LOOPBACK,)), url)[0] == "again"
        release.set()


def test_what_is_no_http_is_not_repeated_in_the_reason() -> None:
    """It may be the banner of another service, 64 KiB long, and members read it in an event."""

    class Hostile(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.wfile.write(b"\x1b]0;SSH-2.0-x" + b"A" * 60_000 + b"\r\n")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as above
            del format, args

    with served(Hostile) as url:
        said = "the answer is not valid HTTP"
        assert tried(SiteNotify((LOOPBACK,)), url) == ("again", said)


def test_a_closed_port_is_tried_again() -> None:
    port = int(free_endpoints(1)[0].rpartition(":")[2])
    assert tried(SiteNotify((LOOPBACK,)), f"http://{LOOPBACK}:{port}/")[0] == "again"
