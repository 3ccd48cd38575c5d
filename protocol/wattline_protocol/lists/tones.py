"""Tones of the words for states; programs give each tone a colour."""

from typing import Literal

Tone = Literal["good", "begun", "waits", "paused", "bad", "alarm", "over"]

TONES: dict[str, Tone] = {
    "PENDING": "waits",
    "HELD": "waits",
    "STARTING": "begun",
    "RUNNING": "good",
    "PAUSED": "paused",
    "COMPLETED": "over",
    "FAILED": "bad",
    "CANCELLED": "over",
    "TIMEOUT": "bad",
    "NODE_FAIL": "bad",
    "PREEMPTED": "waits",
    "ok": "good",
    "draining": "waits",
    "drained": "waits",
    "never heard": "bad",
    "silent": "bad",
    "off": "over",
    "observe": "begun",
    "quarantined": "alarm",
    "warning": "waits",
    "alarm": "alarm",
}
"""Words without an entry have none. The word is always shown too: no colour is the only sign."""
