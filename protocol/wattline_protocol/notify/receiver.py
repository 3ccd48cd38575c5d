"""Receivers of notifications: a mail address, or a URL that gets an HTTP POST.

Both are printable ASCII, so that no header and no command of SMTP or HTTP can be added through
them. The address is a dot-string of RFC 5321 (4.1.2); quoted local parts are refused, and encoded
words (RFC 2047), which a header would show as another address.
"""

import ipaddress
import re
from typing import NamedTuple, get_args
from urllib.parse import urlsplit

from wattline_protocol.job.spec import NotifyOn
from wattline_protocol.text.toml_fields import nearest, text, texts

MAX_RECEIVER_CHARS = 1_000
MAX_ADDRESS_CHARS = 254
"""RFC 5321 (4.5.3.1.3), without the angle brackets."""

ON: tuple[NotifyOn, ...] = get_args(NotifyOn)

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL = re.compile(rf"(?=.{{1,64}}\Z)(?!.*=\?){_ATOM}(?:\.{_ATOM})*")
_GRAPHIC = re.compile(r"[!-~]+")
_EXPECTED = (
    'expected an address such as "ada@example.org", or a URL such as "https://example.org/x"'
)


class MailReceiver(NamedTuple):
    """A mailbox."""

    address: str
    domain: str
    """In lower case."""


class UrlReceiver(NamedTuple):
    """An HTTP server."""

    is_tls: bool
    host: str
    """A name in lower case, or an IP address without brackets."""
    port: int
    path: str
    """With its query."""


Receiver = MailReceiver | UrlReceiver


def parse_receiver(written: str) -> Receiver:
    """The receiver that is meant. Raises ValueError."""
    if len(written) > MAX_RECEIVER_CHARS:
        raise ValueError(f"has {len(written)} characters, at most {MAX_RECEIVER_CHARS}")
    if _GRAPHIC.fullmatch(written) is None:
        raise ValueError(f"{_EXPECTED}: printable ASCII without spaces")
    return _url(written) if "://" in written else _mail(written)


def is_host(written: str) -> bool:
    """Whether it has the form of a host name (RFC 1123)."""
    return len(written) <= MAX_ADDRESS_CHARS and _HOST.fullmatch(written) is not None


def _mail(written: str) -> MailReceiver:
    local, _, domain = written.rpartition("@")
    is_long = len(written) > MAX_ADDRESS_CHARS
    if is_long or _LOCAL.fullmatch(local) is None or not is_host(domain):
        raise ValueError(f"{_EXPECTED}, not {written!r}")
    return MailReceiver(written, domain.lower())


def _url(written: str) -> UrlReceiver:
    try:
        parts = urlsplit(written)
        port, host = parts.port, parts.hostname or ""
    except ValueError as error:
        raise ValueError(f"{_EXPECTED}: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"{_EXPECTED}, not a URL of {parts.scheme}")
    if "@" in parts.netloc or parts.fragment:
        raise ValueError("a URL must have neither a user nor a fragment")
    if port == 0 or not (is_host(host) or _is_address(host)):
        raise ValueError(f"{_EXPECTED}, not {written!r}")
    is_tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return UrlReceiver(is_tls, host, port or (443 if is_tls else 80), path)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def receiver(value: object) -> str:
    """Reads the key of a job file: the receiver as it is written."""
    written = text(value)
    parse_receiver(written)
    return written


def notify_on(value: object) -> tuple[str, ...]:
    """Reads the key of a job file: `["end", "requeue"]`; as a flag also `end,requeue`."""
    given = value.split(",") if isinstance(value, str) else value
    words = tuple(word for one in texts(len(ON) * 2)(given) for word in one.split(","))
    for word in words:
        if word not in ON:
            near = nearest(word, ON)
            hint = f"; the nearest is {near}" if near else ""
            raise ValueError(f"expected {', '.join(ON)}, not {word!r}{hint}")
    return tuple(word for word in ON if word in words)
