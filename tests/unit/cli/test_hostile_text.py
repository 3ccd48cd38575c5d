"""What other users, jobs and drivers write reaches the terminal as text, by every verb."""

import io
import json
import typing
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.strategies.hostile import HOSTILE, acting, filled
from wattline.main import run
from wattline.show import screen
from wattline.verbs.catalogue import CATALOGUE
from wattline.verbs.run import load
from wattline.verbs.verb import Verb
from wattline_protocol.text.visible import TerminalLog, visible, visible_line, visible_log
from wattline_protocol.wire.bounds import CONTROL, CONTROLS
from wattline_protocol.wire.client_messages import Log

SHOWN = [verb for verb in CATALOGUE if verb.role is not None and verb.show is not None]


class Terminal(io.TextIOWrapper):
    """A terminal without colours: whatever acts on it was not written by rich."""

    def __init__(self) -> None:
        self._written = io.BytesIO()
        super().__init__(self._written, encoding="utf-8", newline="")

    def isatty(self) -> bool:
        return True

    def getvalue(self) -> str:
        self.flush()
        return self._written.getvalue().decode()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "200")
    return Terminal()


def shown_type(verb: Verb) -> Any:
    """What its `show` takes."""
    assert verb.show is not None
    hints = typing.get_type_hints(load(verb.show))
    return next(hint for name, hint in hints.items() if name != "return")


def hostile_value(annotation: Any) -> Any:
    if typing.get_origin(annotation) in (Sequence, tuple):
        return [hostile_value(typing.get_args(annotation)[0])]
    if annotation is str:
        return HOSTILE
    args = [a for a in typing.get_args(annotation) if a is not type(None)]
    if args and not (isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)):
        return hostile_value(args[0])
    return filled(annotation)


@pytest.mark.parametrize("verb", SHOWN, ids=lambda verb: verb.name)
def test_no_verb_lets_text_act(verb: Verb, terminal: Terminal) -> None:
    assert verb.show is not None
    annotation = shown_type(verb)
    if annotation is Log:
        pytest.skip("a log may have colours: below")
    value = hostile_value(annotation)
    with redirect_stdout(terminal):
        screen.put(load(verb.show)(value))
    assert terminal.getvalue()
    assert acting(terminal.getvalue()) == []


@pytest.mark.parametrize("put", [screen.put_json, screen.put_json_line])
def test_json_on_a_terminal_does_not_act_and_says_the_same(put: Any, terminal: Terminal) -> None:
    with redirect_stdout(terminal):
        put([HOSTILE])
    assert acting(terminal.getvalue()) == []
    assert json.loads(terminal.getvalue()) == [HOSTILE]


def test_json_carries_no_control_character_as_it_is(terminal: Terminal) -> None:
    with redirect_stdout(terminal):
        screen.put_json_line(CONTROLS)
    assert CONTROL.findall(terminal.getvalue()) == ["\n"]
    assert json.loads(terminal.getvalue()) == list(CONTROLS)


def test_a_log_on_a_terminal_keeps_colours_and_nothing_else(terminal: Terminal) -> None:
    with redirect_stdout(terminal):
        screen.put(b"\x1b[32mgreen\x1b[0m\n\x1b]52;c;b3du\x07\x1b[2Jdone\n")
    assert terminal.getvalue().replace("\x1b[32m", "").replace("\x1b[0m", "") == (
        "green\n␛]52;c;b3du␇␛[2Jdone\n"
    )


def test_errors_do_not_act(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["job", HOSTILE]) != 0
    assert acting(capsys.readouterr().err) == []


@given(st.text())
def test_only_lines_and_tabs_act(text: str) -> None:
    assert set(acting(visible(text))) <= {"\t", *(c for c in text if c >= "\xa0")}
    assert not {"\n", "\t", "\r", "\x1b", "\x9b"} & set(visible_line(text))
    assert visible(visible(text)) == visible(text)


@given(st.text("ab\x1b[0123;mJ]\x07\r\n"))
def test_a_log_keeps_whole_colours_only(text: str) -> None:
    shown = visible_log(text)
    for after in shown.split("\x1b")[1:]:
        assert after.startswith("[")
        assert after.lstrip("[0123456789;").startswith("m")


@given(st.lists(st.binary(max_size=20), max_size=6))
def test_pieces_of_a_log_never_act(pieces: list[bytes]) -> None:
    log = TerminalLog()
    for piece in pieces:
        for after in log.feed(piece).split("\x1b")[1:]:
            assert after.startswith("[")
