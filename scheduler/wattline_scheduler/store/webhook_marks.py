"""Delivery position of each webhook, from which a restart continues."""

import sqlite3
from typing import ClassVar

import msgspec


class WebhookMark(msgspec.Struct, frozen=True):
    """No event up to this one is pending for the receiver at `url`."""

    key: ClassVar[tuple[str, ...]] = ("url",)
    url: str
    settled_seq: int


def load_marks(db: sqlite3.Connection) -> dict[str, int]:
    """By URL, the newest settled event."""
    return dict(db.execute("SELECT url, settled_seq FROM webhooks").fetchall())
