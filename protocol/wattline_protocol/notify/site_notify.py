"""The table [notify] of a site file: which receivers jobs may name, and the mail relay."""

import ipaddress
import re
from typing import Annotated, Any, Literal, cast

import msgspec

from wattline_protocol.notify.receiver import (
    MAX_ADDRESS_CHARS,
    MailReceiver,
    Receiver,
    is_host,
    parse_receiver,
)
from wattline_protocol.text.endpoints import http_address
from wattline_protocol.text.toml_fields import Fields, choice, text, texts
from wattline_protocol.text.wording import listed
from wattline_protocol.wire.bounds import PLAIN

MAX_ALLOWED = 64

SmtpTls = Literal["off", "starttls", "on"]

Word = Annotated[str, msgspec.Meta(max_length=MAX_ADDRESS_CHARS, pattern=PLAIN)]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_UNICAST = ipaddress.IPv6Network("2000::/3")
"""All that is assigned on the public internet. Beyond it lie translators of a site to its IPv4."""
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NETWORK = re.compile(r"[0-9A-Fa-f.:]+(?:/[0-9]{1,3})?")


class SiteNotify(msgspec.Struct, frozen=True):
    """Receivers of notifications; without the table there are none."""

    allow: Annotated[tuple[Word, ...], msgspec.Meta(max_length=MAX_ALLOWED)] = ()
    """Host names of URLs, domains of mail addresses, IP addresses and networks."""
    smtp: Word = ""
    """HOST:PORT of the mail relay; empty: no mail."""
    sender: Word = msgspec.field(default="", name="from")
    smtp_tls: SmtpTls = "off"


NO_NOTIFY = SiteNotify()


def site_notify(top: Fields) -> SiteNotify:
    """The table of the site file."""
    fields = top.table("notify")
    none: tuple[str, ...] = ()
    found = SiteNotify(
        allow=fields.need("allow", _allowed, none) if "notify" in top else none,
        smtp=fields.take("smtp", _relay, ""),
        sender=fields.take("from", _sender, ""),
        smtp_tls=cast("SmtpTls", fields.take("smtp_tls", choice("off", "starttls", "on"), "off")),
    )
    fields.end()
    if bool(found.smtp) != bool(found.sender):
        fields.blame("smtp and from belong together", "from" if found.sender else "smtp")
    return found


def site_notify_keys(found: SiteNotify) -> dict[str, Any]:
    """The table, for `site_notify`."""
    if found == NO_NOTIFY:
        return {}
    mail = {"smtp": found.smtp, "from": found.sender, "smtp_tls": found.smtp_tls}
    return {"allow": list(found.allow), **(mail if found.smtp else {})}


def why_not_notified(site: SiteNotify, receiver: Receiver) -> str:
    """Why a job may not name this receiver; empty = it may."""
    if not site.allow:
        return "this site sends no notifications: its site file has no [notify]"
    is_mail = isinstance(receiver, MailReceiver)
    if is_mail and not site.smtp:
        return "this site sends no mail: its site file has no [notify] smtp"
    host = receiver.domain if isinstance(receiver, MailReceiver) else receiver.host
    if host in site.allow or (not is_mail and is_listed(site, host)):
        return ""
    return f"[notify] allow of the site file does not list {host}, but {listed(site.allow)}"


def may_connect(site: SiteNotify, address: str) -> bool:
    """Whether a connection to this IP address is allowed, whatever name has led to it: it is on the
    public internet, or listed itself. A name that resolves into the site's own network is thus no
    way into it."""
    found = _plain(ipaddress.ip_address(address.partition("%")[0]))
    is_unicast = not found.is_multicast if found.version == 4 else found in _UNICAST
    return (found.is_global and is_unicast) or is_listed(site, str(found))


def is_listed(site: SiteNotify, host: str) -> bool:
    """Whether it is an IP address that is listed, alone or within a network."""
    try:
        address = _plain(ipaddress.ip_address(host))
    except ValueError:
        return False
    networks = (_network(entry) for entry in site.allow)
    return any(one.version == address.version and address in one for one in networks if one)


def _plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 address leads to: mapped, by 6to4, or by NAT64 (RFC 6052)."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _network(entry: str) -> Network | None:
    if _NETWORK.fullmatch(entry) is None:
        return None
    try:
        return ipaddress.ip_network(entry)
    except ValueError:
        return None


def _allowed(value: object) -> tuple[str, ...]:
    entries = tuple(entry.lower() for entry in texts(MAX_ALLOWED)(value))
    for entry in entries:
        if _network(entry) is None and not is_host(entry):
            raise ValueError(
                f'expected hosts and networks, as in ["example.org", "10.0.0.5"], not {entry!r}'
            )
    return entries


def _relay(value: object) -> str:
    written = http_address(text(value))
    if not written.rpartition(":")[2].isdecimal():
        raise ValueError('expected HOST:PORT, as in "127.0.0.1:25"')
    return written


def _sender(value: object) -> str:
    found = parse_receiver(text(value))
    if not isinstance(found, MailReceiver):
        raise ValueError('expected an address such as "wattline@example.org"')
    return found.address
