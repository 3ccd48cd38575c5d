"""The log pane: its end, its colours, and nothing else that acts."""

import pytest
from rich.ansi import AnsiDecoder
from rich.color import Color
from rich.text import Text
from textual.app import App, ComposeResult

from wattline_tui.widgets.log import MAX_LINES, LogPane

RED = Color.from_ansi(1)


class PaneApp(App[None]):
    def compose(self) -> ComposeResult:
        yield LogPane(id="log")


def on_screen(pane: LogPane) -> list[str]:
    return [pane.render_line(y).text.rstrip() for y in range(pane.scrollable_content_region.height)]


async def test_the_end_is_in_view_however_many_lines_were_dropped() -> None:
    app = PaneApp()
    async with app.run_test(size=(40, 10)) as pilot:
        pane = app.query_one(LogPane)
        for begin in range(0, 3 * MAX_LINES, 1000):
            pane.append("".join(f"line {n}\n" for n in range(begin, begin + 1000)).encode())
            await pilot.pause()
            assert on_screen(pane)[-1] == f"line {begin + 999}"
        assert len(pane.shown) == MAX_LINES


async def test_of_very_many_lines_at_once_only_those_retained_are_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoded: list[str] = []
    really_decode = LogPane._decoded

    def decode(self: LogPane, line: str, colours: AnsiDecoder) -> Text:
        decoded.append(line)
        return really_decode(self, line, colours)

    monkeypatch.setattr(LogPane, "_decoded", decode)
    app = PaneApp()
    async with app.run_test(size=(40, 10)) as pilot:
        pane = app.query_one(LogPane)
        pane.append(b"first\n")
        decoded.clear()
        data = b"\x1b[31mred\n" + b"\n" * 65_536 + b"last\n"
        pane.append(data)
        await pilot.pause()
        assert len(decoded) == MAX_LINES
        assert len(pane.shown) == MAX_LINES
        assert on_screen(pane)[-1] == "last"
        assert pane.begin == len(b"first\n" + data) - len(b"last\n") - (MAX_LINES - 1)
        assert RED in {style.color for _, style, _ in pane.render_line(9) if style}


async def test_scrolled_back_lines_stay_where_they_are_while_older_ones_are_dropped() -> None:
    app = PaneApp()
    async with app.run_test(size=(40, 10)) as pilot:
        pane = app.query_one(LogPane)
        pane.append("".join(f"line {n}\n" for n in range(MAX_LINES)).encode())
        await pilot.pause()
        pane.follows = False
        pane.scroll_to(y=2000, animate=False, immediate=True)
        before = on_screen(pane)
        pane.append(b"more\n" * 100)
        await pilot.pause()
        assert on_screen(pane) == before


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        ((b"a\nb",), ["a", "b"]),
        ((b"epo", b"ch 1\nepoch 2"), ["epoch 1", "epoch 2"]),
        ((b"10%\r20%\r", b"30%\n"), ["30%"]),
        ((b"dos\r\nlines\r\n",), ["dos", "lines"]),
        ((b"\x1b[31mred\x1b[0m plain\n",), ["red plain"]),
        ((b"\x1b[3", b"1mred\n"), ["red"]),
        ((b"\x1b]0;title\x07\x1b[2J\n",), ["␛]0;title␇␛[2J"]),
        ((b"\xf0\x9f", b"\x94\xa5\n"), ["🔥"]),
        ((b"\xff\xfe\n",), ["��"]),
        ((b"\x1b[" + b"9" * 5000 + b"m\n",), ["␛[" + "9" * 5000 + "m"]),
    ],
)
async def test_bytes_become_lines(pieces: tuple[bytes, ...], shown: list[str]) -> None:
    app = PaneApp()
    async with app.run_test(size=(40, 10)):
        pane = app.query_one(LogPane)
        for piece in pieces:
            pane.append(piece)
        assert pane.shown == shown


async def test_a_colour_lasts_over_pieces_and_ends_with_its_reset() -> None:
    app = PaneApp()
    async with app.run_test(size=(40, 10)):
        pane = app.query_one(LogPane)
        for piece in (b"\x1b[31mred\n", b"still red\n\x1b[0mplain\n"):
            pane.append(piece)
        red = [
            [s.text for s in pane.render_line(y) if s.style and s.style.color == RED]
            for y in range(3)
        ]
    assert red == [["red"], ["still red"], []]


async def test_a_line_without_an_end_is_bounded() -> None:
    app = PaneApp()
    async with app.run_test(size=(40, 10)):
        pane = app.query_one(LogPane)
        for _ in range(50):
            pane.append(b"x" * 10_000)
        assert sum(map(len, pane.shown)) <= 10_000


async def test_bytes_are_counted_by_lines_whatever_carriage_returns_they_have() -> None:
    app = PaneApp()
    async with app.run_test(size=(40, 10)):
        pane = app.query_one(LogPane)
        pane.begin = 100
        pane.append(b"".join(b"line %d\n" % n for n in range(MAX_LINES)))
        pane.prepend(b"10%\r20%\r30%\ndos\r\n")
        assert pane.begin == 100 - len(b"10%\r20%\r30%\ndos\r\n")
        assert pane.shown[:3] == ["30%", "dos", "line 0"]
        pane.append(b"more\n" * 2)
        assert pane.begin == 100
        assert pane.shown[0] == "line 0"


@pytest.mark.parametrize("end", [b"", b"\nnext\n"])
async def test_of_a_line_longer_than_what_is_read_at_once_the_beginning_is_counted(
    end: bytes,
) -> None:
    app = PaneApp()
    async with app.run_test(size=(40, 10)):
        pane = app.query_one(LogPane)
        pane.begin = 1_000
        pane.append(b"70%\r80%" + end)
        pane.prepend(b"50%\r60%\r")
        pane.prepend(b"start\n40%\r")
        assert pane.begin == 1_000 - len(b"start\n40%\r50%\r60%\r")
        assert pane.shown[:2] == ["start", "80%"]
        assert sum(pane._lengths) + pane._open_bytes == len(b"start\n40%\r50%\r60%\r70%\r80%" + end)


async def test_a_progress_bar_shows_its_end_however_long_it_is() -> None:
    app = PaneApp()
    async with app.run_test(size=(40, 10)):
        pane = app.query_one(LogPane)
        pane.append(b"\r".join(b"%9d%%" % n for n in range(2_000)) + b"\n")
        assert [line.strip() for line in pane.shown] == ["1999%"]
