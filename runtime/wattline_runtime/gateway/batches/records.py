"""Records of a batch: its definition and its progress, and both as clients read them."""

from typing import Annotated, Literal

import msgspec

Status = Literal["in_progress", "completed", "cancelled", "expired", "failed"]
"""`in_progress` until it has ended."""
End = Literal["cancelled", "expired", "failed"]

Short = Annotated[str, msgspec.Meta(max_length=512)]
Count = Annotated[int, msgspec.Meta(ge=0)]

ROW_REASON: dict[End, str] = {
    "cancelled": "batch_cancelled",
    "expired": "batch_expired",
    "failed": "key_revoked",
}
"""Why rows have no output that a batch did not come to."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as it was accepted; never changes."""

    id: Short
    service: Short
    key: Short
    """SHA-256 of its API key; empty: the gateway was open."""
    key_name: Short
    created_unix_s: float
    deadline_unix_s: float
    timeout_ms: Count
    """Time of one try of a row."""
    total: Count
    input_bytes: Count


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a batch is; results are on disk before they are counted here."""

    rows: Count = 0
    """With a result."""
    failed: Count = 0
    output_bytes: Count = 0
    status: Status = "in_progress"
    end: End | None = None
    """Reason that ends it before all rows have run."""
    reason: Short = ""
    """Why, in words."""
    waiting: Short = ""
    """What holds it up, other than the load of its service."""
    ended_unix_s: float = 0.0

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.status == "in_progress"


def shown(batch: Batch, progress: Progress, *, is_cancelled: bool) -> dict[str, object]:
    """For clients, with the names of OpenAI's API."""
    status: str = progress.status
    if progress.is_open and (is_cancelled or progress.end is not None):
        status = "cancelling"
    found: dict[str, object] = {
        "id": batch.id,
        "object": "batch",
        "service": batch.service,
        "status": status,
        "request_counts": {
            "total": batch.total,
            "completed": progress.rows - progress.failed,
            "failed": progress.failed,
        },
        "created_at": int(batch.created_unix_s),
        "expires_at": int(batch.deadline_unix_s),
    }
    if not progress.is_open:
        found["ended_at"] = int(progress.ended_unix_s)
    for name in ("reason", "waiting"):
        if text := getattr(progress, name):
            found[name] = text
    return found
