"""One HTTP POST of an event, signed. Loaded only where a webhook is declared: httpx is not small.

The signature is HMAC-SHA256 over TIMESTAMP "." BODY with the content of the secret file. The
receiver recomputes it, compares, and refuses old timestamps, which prevents replay.
"""

import hashlib
import hmac
import time

import httpx
import msgspec

from wattline_protocol.site.model import Webhook
from wattline_protocol.trust.keys import KeyFileError
from wattline_protocol.views.site_views import EventView
from wattline_scheduler.shell.webhooks.webhook import Outcome, outcome_of, secret_of

TIMEOUT_S = 5.0
"""To connect, and between two pieces of the answer; only the status of the answer is read."""

_encoder = msgspec.json.Encoder()


class Notice(msgspec.Struct, frozen=True):
    """The body of a request: an event and its site."""

    site: str
    seq: int
    """Number of the event; the same number is the same event."""
    unix_s: float
    kind: str
    level: str
    actor: str = msgspec.field(name="who")
    text: str
    job: int | None
    node: str | None


class SignedPost:
    """Sends events to one receiver over one connection."""

    def __init__(self, site: str, webhook: Webhook) -> None:
        self._site = site
        self._webhook = webhook
        self._client = httpx.Client(
            timeout=TIMEOUT_S, limits=httpx.Limits(max_connections=1), follow_redirects=False
        )

    def __call__(self, event: EventView) -> Outcome:
        body = body_of(self._site, event)
        try:
            secret = secret_of(self._webhook)
        except KeyFileError as error:
            return Outcome("again", str(error))
        headers = {
            "content-type": "application/json",
            "user-agent": "wattline",
            "x-wattline-event": f"{self._site}-{event.seq}",
            **signature(secret, round(time.time()), body),
        }
        try:
            with self._client.stream(
                "POST", self._webhook.url, content=body, headers=headers
            ) as answer:
                return outcome_of(answer.status_code)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Outcome("again", str(error) or type(error).__name__)


def body_of(site: str, event: EventView) -> bytes:
    """The JSON body of the request."""
    notice = Notice(
        site=site,
        seq=event.seq,
        unix_s=event.unix_s,
        kind=event.kind,
        level=event.level,
        actor=event.actor,
        text=event.text,
        job=event.job,
        node=event.node,
    )
    return _encoder.encode(notice)


def signature(secret: bytes, unix_s: int, body: bytes) -> dict[str, str]:
    """The headers that prove sender and time."""
    digest = hmac.new(secret, f"{unix_s}.".encode() + body, hashlib.sha256).hexdigest()
    return {"x-wattline-timestamp": str(unix_s), "x-wattline-signature": f"sha256={digest}"}
