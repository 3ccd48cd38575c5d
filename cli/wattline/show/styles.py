"""Colours by meaning. The word is always shown too: colour is never the only sign."""

from rich.text import Text

from wattline_protocol.lists.tones import TONES, Tone
from wattline_tui.units import REASON_WORDS

_COLOURS: dict[Tone, str] = {
    "good": "green",
    "begun": "cyan",
    "waits": "yellow",
    "paused": "magenta",
    "bad": "red",
    "alarm": "bold red",
    "over": "dim",
}


def state(word: str) -> Text:
    """A state in its colour."""
    return Text(word, style=_COLOURS[TONES[word]] if word in TONES else "")


def throttle(reasons: int) -> str:
    """Why the clocks are reduced, as text, most severe first."""
    return ", ".join(word for bit, word in REASON_WORDS if reasons & bit)


def alarm(text: str) -> Text:
    """Something that needs attention."""
    return Text(text, style="bold red")
