"""Text of others is shown, and acts on no terminal."""

import sys

from rich.cells import cell_len

from wattline_protocol.text.visible import visible, visible_line, visible_log
from wattline_protocol.wire.bounds import CONTROL, CONTROLS


def test_every_control_character_that_a_message_is_refused_for_is_shown() -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    assert tuple(CONTROL.findall(everything)) == CONTROLS
    assert CONTROL.findall(visible_line("".join(CONTROLS))) == []
    assert CONTROL.findall(visible("".join(CONTROLS))) == ["\t", "\n"]


def test_each_is_shown_as_what_it_is() -> None:
    assert visible_line("a\x1b[2J\x7f\x9b\u202e\n") == "a␛[2J␡\\x9b\\u202e "


def test_characters_without_a_width_are_shown() -> None:
    """Terminals draw `a`, a joiner and `b` in two cells, where they are measured as one."""
    assert visible_line("a\u200db\u200b\u2060\ufeff\xad") == r"a\u200db\u200b\u2060\ufeff\xad"
    assert (
        visible_log("\u0645\u06cc\u200c\u0634\u0648\u062f\u202e")
        == "\u0645\u06cc\u200c\u0634\u0648\u062f\\u202e"
    )
    joined = "a\u200d" * 40
    assert cell_len(joined) == 1
    assert cell_len(visible(joined)) == len(visible(joined)) == 40 * 7
