"""The user's terminal after it was attached to that of a job."""

import os
import pty
import select
import sys
import termios
import tty

import pytest

from wattline.foreground.attached_screen import AttachedScreen, Left, _raw
from wattline.foreground.terminal_modes import TerminalModes

WITHIN_S = 10.0


@pytest.mark.parametrize(("over", "left"), [("ended", b""), ("detached", b""), ("", b"ls\n")])
def test_keys_for_a_program_that_has_ended_are_not_left_to_the_shell(
    monkeypatch: pytest.MonkeyPatch, over: str, left: bytes
) -> None:
    user, shell = pty.openpty()
    with os.fdopen(user, "wb", 0) as keyboard, os.fdopen(shell, "rb", 0) as stdin:
        before = termios.tcgetattr(stdin)
        screen = AttachedScreen(None)  # type: ignore[arg-type]
        screen._left = Left(over)
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdin", stdin)
            with _raw(screen._restore):
                keyboard.write(b"ls\n")
                assert select.select([stdin], [], [], WITHIN_S)[0], "typed, and not read"
        assert termios.tcgetattr(stdin) == before
        tty.setcbreak(shell, termios.TCSANOW)
        os.set_blocking(shell, False)
        assert (stdin.read(100) or b"") == left


def test_what_a_program_has_set_is_reset_beside_its_modes() -> None:
    modes = TerminalModes()
    assert modes.restoring() == b"", "nothing was shown"
    modes.feed(b"\x1b[?1049h\x1b[5;9r")
    restoring = modes.restoring()
    for reset in (b"[<u", b"[>4;0m", b"[r", b"(B", b"[0 q", b"[0m", b">"):
        assert b"\x1b" + reset in restoring
    assert restoring.startswith(b"\x1b[?1049l"), "the rest is for the user's own screen"
    assert restoring.index(b"\x1b7") < restoring.index(b"\x1b[r") < restoring.index(b"\x1b8")
