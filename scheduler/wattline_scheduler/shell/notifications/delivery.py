"""One try of a notification: a POST to a URL, or a message to the mail relay.

The address that is connected to is the one that was checked: a name cannot resolve otherwise in
between. Redirects are not followed, and proxies of the environment are not used. A try has a
deadline, at which its connection is shut down.
"""

import http.client
import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager

from wattline_protocol.http.exchange_limit import shut_down_after
from wattline_protocol.notify.receiver import MailReceiver, Receiver, UrlReceiver
from wattline_protocol.notify.site_notify import SiteNotify, may_connect
from wattline_scheduler.notification_record import NotificationRecord
from wattline_scheduler.shell.notifications.message import body_of, id_of, mail_of
from wattline_scheduler.shell.webhooks.webhook import Outcome, outcome_of

TIMEOUT_S, DEADLINE_S = 5.0, 20.0
"""Of each step of a POST: to connect, to send, to receive; and of all, from the connection on."""

MAIL_TIMEOUT_S, MAIL_DEADLINE_S = 300.0, 600.0
"""The same of a mail (RFC 5321, 4.5.3.2). A relay may check a message for minutes before it takes
it: given up before, it would come twice, and again at each further try."""


class NotAllowed(Exception):
    """A name resolves to no address that may be connected to; the text names one."""


class Delivering:
    """Tries notifications of one site. For many threads at once: it keeps no connection."""

    def __init__(self, site: str, notify: SiteNotify) -> None:
        self._site, self._notify = site, notify

    def __call__(self, record: NotificationRecord, receiver: Receiver) -> Outcome:
        try:
            if isinstance(receiver, MailReceiver):
                return self._mail(record, receiver)
            return self._post(record, receiver)
        except NotAllowed as error:
            return Outcome("refused", str(error))
        except smtplib.SMTPRecipientsRefused as error:
            return _of_replies(error)
        except smtplib.SMTPResponseException as error:
            return _of_reply(error.smtp_code)
        except OSError as error:
            return Outcome("again", str(error) or type(error).__name__)
        except http.client.HTTPException:  # its text is what the peer has sent
            return Outcome("again", "the answer is not valid HTTP")

    def _post(self, record: NotificationRecord, to: UrlReceiver) -> Outcome:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "wattline",
            "X-Wattline-Notification": id_of(self._site, record),
        }
        kind = http.client.HTTPSConnection if to.is_tls else http.client.HTTPConnection
        connection = kind(to.host, to.port, timeout=TIMEOUT_S)
        with closing(connection), _connected(self._notify, to) as plain:
            context = ssl.create_default_context() if to.is_tls else None
            connection.sock = (
                plain if context is None else context.wrap_socket(plain, server_hostname=to.host)
            )
            connection.request("POST", to.path, body_of(self._site, record), headers)
            status = connection.getresponse().status
        if 300 <= status < 400:
            return Outcome("refused", f"HTTP {status}: redirects are not followed")
        return outcome_of(status)

    def _mail(self, record: NotificationRecord, to: MailReceiver) -> Outcome:
        host, _, port = self._notify.smtp.rpartition(":")
        message = mail_of(self._site, self._notify.sender, record)
        context = ssl.create_default_context()
        name, place = socket.gethostname(), host.strip("[]")
        if self._notify.smtp_tls == "on":
            relay: smtplib.SMTP = smtplib.SMTP_SSL(
                place, int(port), name, timeout=MAIL_TIMEOUT_S, context=context
            )
        else:
            relay = smtplib.SMTP(place, int(port), name, timeout=MAIL_TIMEOUT_S)
        connection = relay.sock
        if connection is None:
            return Outcome("again", "the relay has closed the connection")
        with closing(relay), shut_down_after(MAIL_DEADLINE_S, connection):
            if self._notify.smtp_tls == "starttls":
                relay.starttls(context=context)
            relay.send_message(message, self._notify.sender, [to.address])
            return Outcome("taken")  # without QUIT: its failure would make it a second message


@contextmanager
def _connected(notify: SiteNotify, to: UrlReceiver) -> Iterator[socket.socket]:
    """A connection to the first address of the host that may be connected to and answers."""
    found = socket.getaddrinfo(to.host, to.port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
    allowed = [address for address in addresses if may_connect(notify, address)]
    if not allowed:
        place = "" if addresses == [to.host] else f"{to.host} resolves to "
        raise NotAllowed(f"{place}{addresses[0]}, which [notify] allow does not list")
    with closing(_first(allowed, to.port)) as plain, shut_down_after(DEADLINE_S, plain):
        yield plain


def _first(addresses: list[str], port: int) -> socket.socket:
    """A connection to the first address that answers. Raises the OSError of the last."""
    for address in addresses[:-1]:
        try:
            return socket.create_connection((address, port), TIMEOUT_S)
        except OSError:
            continue
    return socket.create_connection((addresses[-1], port), TIMEOUT_S)


def _of_replies(error: smtplib.SMTPRecipientsRefused) -> Outcome:
    """One recipient, one reply."""
    return _of_reply(max(code for code, _ in error.recipients.values()))


def _of_reply(code: int) -> Outcome:
    """RFC 5321 (4.2.1): 5xx is permanent."""
    return Outcome("refused" if code >= 500 else "again", f"SMTP {code}")
