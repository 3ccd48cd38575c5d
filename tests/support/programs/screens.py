"""What the terminal shows, as text."""

from collections.abc import Iterable

from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from textual.pilot import Pilot
from textual.widgets import DataTable, Input

from wattline_tui.app import TopApp

FETCHES = {"job", "record", "order", "list", "goto"}
"""Workers whose answers change the screen."""


class ScreenFile(SingleFileSnapshotExtension):
    """A screen in a file of its own, so that a change is read as one."""

    _write_mode = WriteMode.TEXT
    _file_extension = "txt"


def screen_text(app: TopApp) -> str:
    """Every line of the terminal, without its colours."""
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips) + "\n"


async def settled(pilot: Pilot[None]) -> None:
    """The snapshot, and what was fetched for it, are on the screen that is open."""
    app = pilot.app
    assert isinstance(app, TopApp)
    while app.view.site is None or app.view.me is None:
        await pilot.pause(0.01)
    while any(w.name in FETCHES and not w.is_finished for w in app.workers):
        await pilot.pause(0.01)
    while any(_is_unmeasured(table) for table in app.screen.query(DataTable)):
        await pilot.pause(0.01)
    for line in app.screen.query(Input):
        line.cursor_blink = False
    await pilot.pause()
    before = ""
    while (now := screen_text(app)) != before:
        before = now
        await pilot.pause()


def _is_unmeasured(table: DataTable[object]) -> bool:
    """Whether its columns get the widths of their cells when the app is idle next."""
    return table._require_update_dimensions or bool(table._updated_cells)


async def pressed(pilot: Pilot[None], keys: Iterable[str]) -> None:
    """Press keys one after the other; `'text` types a text."""
    for key in keys:
        await pilot.press(*(key[1:] if key.startswith("'") else (key,)))
        await settled(pilot)
