"""Up to which event each webhook was told: what a restart goes on from."""

import sqlite3
from typing import ClassVar

import msgspec


class WebhookMark(msgspec.Struct, frozen=True):
    """Nothing up to this event waits for the receiver at `url` any more."""

    key: ClassVar[tuple[str, ...]] = ("url",)
    url: str
    settled_seq: int


def load_marks(db: sqlite3.Connection) -> dict[str, int]:
    """By URL the newest event that is settled."""
    return dict(db.execute("SELECT url, settled_seq FROM webhooks").fetchall())
