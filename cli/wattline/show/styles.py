"""Colours by meaning. The word is always shown too: colour is never the only sign."""

from rich.text import Text

from wattline_tui.units import REASON_WORDS

_STATES = {
    "PENDING": "yellow",
    "HELD": "yellow",
    "STARTING": "cyan",
    "RUNNING": "green",
    "PAUSED": "magenta",
    "COMPLETED": "dim",
    "FAILED": "red",
    "CANCELLED": "dim",
    "TIMEOUT": "red",
    "NODE_FAIL": "red",
    "PREEMPTED": "yellow",
    "ok": "green",
    "draining": "yellow",
    "drained": "yellow",
    "never heard": "red",
    "silent": "red",
    "off": "dim",
    "observe": "cyan",
    "quarantined": "bold red",
    "info": "",
    "warning": "yellow",
    "alarm": "bold red",
}


def state(word: str) -> Text:
    """A state in its colour."""
    return Text(word, style=_STATES.get(word, ""))


def throttle(reasons: int) -> str:
    """Why the clocks are reduced, as text, most severe first."""
    return ", ".join(word for bit, word in REASON_WORDS if reasons & bit)


def alarm(text: str) -> Text:
    """Something that needs attention."""
    return Text(text, style="bold red")
