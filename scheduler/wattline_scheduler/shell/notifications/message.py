"""What a notification says, as mail and as JSON: what the list of jobs shows to every member, no
command, no variable, no line of a log."""

import datetime
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime

import msgspec

from wattline_protocol.text.visible import visible_line
from wattline_scheduler.notification_record import NotificationRecord

_BECAME = {"begin": "runs", "requeue": "is requeued", "hold": "is held"}


class JobNotice(msgspec.Struct, frozen=True):
    """The JSON body of a POST."""

    site: str
    id: str
    """The same at each try: a receiver that has seen it may ignore it."""
    on: str
    job: int
    name: str
    owner: str
    state: str
    reason: str
    unix_s: float


def id_of(site: str, record: NotificationRecord) -> str:
    """Identifies a notification among those of all sites of a receiver."""
    return f"{site}-{record.job}-{record.number}"


def body_of(site: str, record: NotificationRecord) -> bytes:
    """The body of a POST."""
    return msgspec.json.encode(
        JobNotice(
            site=site,
            id=id_of(site, record),
            on=record.on,
            job=record.job,
            name=record.name,
            owner=record.owner,
            state=record.state,
            reason=record.reason,
            unix_s=record.unix_s,
        )
    )


def mail_of(site: str, sender: str, record: NotificationRecord) -> EmailMessage:
    """The message to the mailbox. The policy refuses a header with a line break."""
    mail = EmailMessage(policy=policy.SMTP)
    when = datetime.datetime.fromtimestamp(record.unix_s, datetime.UTC)
    became = _BECAME.get(record.on, record.state)
    title = visible_line(f"job {record.job} ({record.name}) {became}")
    mail["From"], mail["To"] = sender, record.receiver
    mail["Subject"] = f"[{site}] {title}"
    mail["Date"] = format_datetime(when)
    mail["Message-ID"] = f"<{id_of(site, record)}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no automatic answers
    reason = f"Reason: {visible_line(record.reason)}\n" if record.reason else ""
    mail.set_content(
        f"{title}, {when:%Y-%m-%d %H:%M:%S} UTC, site {site}, user {visible_line(record.owner)}.\n"
        f"{reason}\nwattline job {record.job}\n",
        cte="quoted-printable",
    )
    return mail
