"""Receivers of notifications: which are well-formed, and which the site file allows."""

import msgspec
import pytest

from support.core.sites import site
from wattline_protocol.job.file import JobFileError, format_job, job_from_options, parse_job
from wattline_protocol.job.spec import Notify
from wattline_protocol.notify.receiver import MailReceiver, UrlReceiver, parse_receiver
from wattline_protocol.notify.site_notify import SiteNotify, may_connect, why_not_notified
from wattline_protocol.site.file import SiteFileError, parse_site
from wattline_protocol.site.text import format_site

ALLOWED = SiteNotify(
    ("example.org", "hooks.example.org", "10.1.0.0/16", "::1"), "relay:25", "w@x.org"
)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("ada@example.org", MailReceiver("ada@example.org", "example.org")),
        ("a.b+c@Mail.Example.ORG", MailReceiver("a.b+c@Mail.Example.ORG", "mail.example.org")),
        ("https://Hooks.example.org", UrlReceiver(True, "hooks.example.org", 443, "/")),
        ("http://10.1.0.9:8080/a?b=c", UrlReceiver(False, "10.1.0.9", 8080, "/a?b=c")),
        ("https://[2001:DB8::1]:8443/x", UrlReceiver(True, "2001:db8::1", 8443, "/x")),
    ],
)
def test_what_is_meant(written: str, meant: MailReceiver | UrlReceiver) -> None:
    assert parse_receiver(written) == meant


@pytest.mark.parametrize(
    "written",
    [
        "",
        "ada",
        "ada@",
        "@example.org",
        "a@b@",
        ".ada@example.org",
        "a..b@example.org",
        "ada@-x.org",
        "ada@example.org,bob@example.org",
        '"ada"@example.org',
        "=?utf-8?q?a=2Cb=40evil.org?=@example.org",
        "Ada <ada@example.org>",
        "ada@example.org\r\nBcc: eve@example.org",
        "ada@example.org\n",
        "ada@exämple.org",
        "a" * 65 + "@example.org",
        "a@" + "x." * 130 + "org",
        "ftp://example.org/x",
        "file:///etc/passwd",
        "http://",
        "http://user:secret@example.org/",
        "http://@example.org/",
        "http://example.org/#top",
        "http://example.org:0/",
        "http://example.org:99999/",
        "http://example.org/a b",
        "http://example.org/\r\nX: y",
        "http://exa_mple.org/",
        "http://[fe80::1%25eth0]/",
        "http://example.org./",
        "https://example.org/" + "x" * 1000,
    ],
)
def test_what_is_no_receiver_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"expected|at most|must have"):
        parse_receiver(written)


def test_a_job_names_it_as_file_and_as_flags() -> None:
    spec = job_from_options(command=["x"], notify="ada@example.org", notify_on="requeue,end")
    assert spec.notify == Notify("ada@example.org", ("end", "requeue"))
    assert parse_job(format_job(spec), "job.toml") == spec
    assert job_from_options(command=["x"], notify="ada@example.org").notify.on == ("end",)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"notify_on": "fail"}, "--notify-on: set notify as well"),
        ({"notify": "a@b.org", "notify_on": "ended"}, "not 'ended'; the nearest is end"),
        ({"notify": "a@b.org\r\nx"}, "it contains U+000D"),
    ],
)
def test_a_wrong_key_is_refused_with_the_right_one(options: dict[str, str], said: str) -> None:
    with pytest.raises(JobFileError) as caught:
        job_from_options(command=["x"], **options)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("ada@example.org", ""),
        ("ada@mail.example.org", "does not list mail.example.org, but example.org,"),
        ("ada@10.1.0.0", "does not list 10.1.0.0"),
        ("https://hooks.example.org/x", ""),
        ("https://example.org.evil.com/x", "does not list example.org.evil.com"),
        ("http://10.1.2.3/x", ""),
        ("http://10.2.0.1/x", "does not list 10.2.0.1"),
        ("http://[::1]:8080/x", ""),
        ("http://127.1/x", "does not list 127.1"),
        ("http://2130706433/x", "does not list 2130706433"),
    ],
)
def test_only_listed_hosts_are_allowed(written: str, said: str) -> None:
    why = why_not_notified(ALLOWED, parse_receiver(written))
    assert why.startswith("[notify] allow of the site file") if said else why == ""
    assert said in why


def test_a_site_without_the_table_sends_nothing_and_one_without_relay_no_mail() -> None:
    mail = parse_receiver("ada@example.org")
    assert "has no [notify]" in why_not_notified(SiteNotify(), mail)
    assert "has no [notify] smtp" in why_not_notified(SiteNotify(("example.org",)), mail)


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("127.0.0.1", False),
        ("10.2.0.1", False),
        ("10.1.255.255", True),
        ("169.254.169.254", False),
        ("192.168.1.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::", False),
        ("::1", True),
        ("fe80::1%eth0", False),
        ("::ffff:10.2.0.1", False),
        ("::ffff:10.1.0.1", True),
        ("fd00::1", False),
        ("64:ff9b::10.2.0.1", False),
        ("64:ff9b::93.184.215.14", True),
        ("2002:0a02:0001::1", False),
        ("64:ff9b:1::10.2.0.1", False),
        ("::10.2.0.1", False),
        ("fec0::1", False),
    ],
)
def test_addresses_that_are_not_public_are_reached_where_they_are_listed(
    address: str, allowed: bool
) -> None:
    assert may_connect(ALLOWED, address) is allowed


def test_the_table_of_the_site_file_is_read_as_it_is_written() -> None:
    there = msgspec.structs.replace(site().rack("a", 1).build(), notify=ALLOWED)
    assert parse_site(format_site(there), "site.toml").notify == ALLOWED


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", "allow is missing"),
        ("allow = []", "expected a list of 1 to 64"),
        ('allow = ["http://x.org"]', "expected hosts and networks"),
        ('allow = ["10.0.0.1/8"]', "expected hosts and networks"),
        ('allow = ["x.org"]\nsmtp = "relay:25"', "smtp and from belong together"),
        ('allow = ["x.org"]\nsmtp = "relay"\nfrom = "w@x.org"', "expected HOST:PORT"),
        ('allow = ["x.org"]\nsmtp = "relay:*"\nfrom = "w@x.org"', "expected HOST:PORT"),
        ('allow = ["x.org"]\nsmtp = "r:25"\nfrom = "x.org"', "expected an address"),
    ],
)
def test_a_wrong_table_is_refused(table: str, said: str) -> None:
    with pytest.raises(SiteFileError) as caught:
        parse_site(f"[notify]\n{table}\n", "site.toml")
    assert said in str(caught.value)
