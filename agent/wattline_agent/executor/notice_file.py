"""The notice file of an attempt: what will interrupt it, as one line of JSON; no file = nothing."""

from pathlib import Path

import msgspec

from wattline_agent.keeper.records import replace_text
from wattline_protocol.wire.task_order import Notice

MAX_WHY_CHARS = 1000
MAX_BYTES = 64 * 1024
"""A larger file was not written by an agent."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Notice)


def put_notice(path: str, notice: Notice | None) -> None:
    """Replace the file at once, readable by any account; None removes it. Raises OSError."""
    if notice is None:
        Path(path).unlink(missing_ok=True)
        return
    line = msgspec.structs.replace(notice, why=notice.why[:MAX_WHY_CHARS])
    replace_text(path, _encoder.encode(line).decode())


def read_notice(path: str) -> Notice | None:
    """The notice on disk, for an agent that takes attempts over; None: none, or unreadable."""
    try:
        with Path(path).open("rb") as file:
            return _decoder.decode(file.read(MAX_BYTES))
    except (OSError, msgspec.DecodeError, RecursionError):
        return None
