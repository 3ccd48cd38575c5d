"""Colours by meaning. The word is always there too: colour alone says nothing."""

from rich.text import Text

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
    "ok": "green",
    "draining": "yellow",
    "drained": "yellow",
    "never heard": "red",
    "silent": "red",
    "off": "dim",
    "observe": "cyan",
    "info": "",
    "warning": "yellow",
    "alarm": "bold red",
}

_THROTTLE_WORDS = (
    (0x80, "power brake"),
    (0x40, "hot (hardware)"),
    (0x20, "hot"),
    (0x08, "hardware slowdown"),
    (0x04, "power cap"),
    (0x10, "sync boost"),
    (0x02, "clocks set"),
    (0x100, "display"),
    (0x01, "idle"),
)
"""NVML's clock event reasons, gravest first."""


def state(word: str) -> Text:
    """A state in its colour."""
    return Text(word, style=_STATES.get(word, ""))


def throttle(reasons: int) -> str:
    """Why the clocks are down, in words."""
    return ", ".join(word for bit, word in _THROTTLE_WORDS if reasons & bit)


def alarm(text: str) -> Text:
    """Something that must be seen."""
    return Text(text, style="bold red")
