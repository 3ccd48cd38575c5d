"""Colours by meaning. The word is always shown too: colour is never the only sign."""

from rich.text import Text

from wattline_protocol.lists.tones import TONES, Tone

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


def alarm(text: str) -> Text:
    """Something that needs attention."""
    return Text(text, style="bold red")
