"""What the terminal shows, as text."""

import string
from collections import Counter
from collections.abc import Iterable
from itertools import chain

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from textual.pilot import Pilot
from textual.widgets import Input

from wattline_tui.app import TopApp

FETCHES = {"job", "record", "order", "list", "goto"}
"""Workers whose answers change the screen."""


LETTERS = string.ascii_letters + string.digits
"""Of the styles of a screen."""

ATTRIBUTES = ("bold", "italic", "reverse", "underline", "dim")


class ScreenFile(SingleFileSnapshotExtension):
    """A screen in a file of its own, so that a change is read as one."""

    _write_mode = WriteMode.TEXT
    _file_extension = "txt"


def screen_text(app: TopApp) -> str:
    """Every line of the terminal, without its colours."""
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips) + "\n"


def screen_ink(app: TopApp) -> str:
    """The style of every character of the terminal, a letter each, and what the letters stand for;
    the most frequent one is blank."""
    strips = app.screen._compositor.render_strips()
    lines = [
        [_style_of(segment) for segment in strip for _ in range(segment.cell_length)]
        for strip in strips
    ]
    usual, *others = (one for one, _ in Counter(chain.from_iterable(lines)).most_common())
    others.sort(key=list(chain.from_iterable(lines)).index)
    letters = dict(zip((usual, *others), " " + LETTERS, strict=False))
    grid = ("".join(map(letters.__getitem__, line)).rstrip() for line in lines)
    return (
        "\n".join([*grid, "", *(f"{letter or ' '} {style}" for style, letter in letters.items())])
        + "\n"
    )


def _style_of(segment: Segment) -> str:
    """Colours and attributes; of blanks that of their ground alone."""
    style = segment.style or Style.null()
    ground = _colour(style.bgcolor)
    is_blank = not segment.text.strip() and not style.reverse and not style.underline
    if is_blank:
        return f"on {ground}"
    attributes = [name for name in ATTRIBUTES if getattr(style, name)]
    return " ".join([_colour(style.color), "on", ground, *attributes])


def _colour(colour: Color | None) -> str:
    return "default" if colour is None else colour.get_truecolor().hex


async def settled(pilot: Pilot[None]) -> None:
    """The snapshot, and what was fetched for it, are on the screen that is open."""
    app = pilot.app
    assert isinstance(app, TopApp)
    while app.view.site is None or app.view.me is None:
        await pilot.pause(0.01)
    while any(w.name in FETCHES and not w.is_finished for w in app.workers):
        await pilot.pause(0.01)
    for line in app.screen.query(Input):
        line.cursor_blink = False
    await pilot.pause()
    before = ""
    while (now := screen_text(app)) != before:
        before = now
        await pilot.pause()


async def pressed(pilot: Pilot[None], keys: Iterable[str]) -> None:
    """Press keys one after the other; `'text` types a text."""
    for key in keys:
        await pilot.press(*(key[1:] if key.startswith("'") else (key,)))
        await settled(pilot)
