"""The line that names the error of a program, from its output."""

import traceback

from wattline_protocol.text.tracebacks import MAX_ERROR_CHARS, TRACEBACK, error_of


def test_an_error_is_one_line_with_its_place() -> None:
    try:
        raise ValueError("boom\nmore")
    except ValueError:
        text = f"before\n{traceback.format_exc()}after\n"
    found = error_of(text)
    assert found.startswith("ValueError: boom (")
    assert found.endswith("in test_an_error_is_one_line_with_its_place)")
    assert error_of("no traceback here") == ""


def test_of_several_the_last_counts_and_half_a_one_has_no_error() -> None:
    first = f'{TRACEBACK}\n  File "a.py", line 1, in f\nKeyError: 1\n'
    assert error_of(f"{first}{TRACEBACK}\n  …\nE: no\nlater\n") == "E: no"
    assert error_of(f'{first}{TRACEBACK}\n  File "b.py", line 2, in g\n') == ""
    assert len(error_of(f"{TRACEBACK}\n{'x' * 9000}\n")) == MAX_ERROR_CHARS


def test_the_rank_before_each_line_is_no_part_of_the_error() -> None:
    """As `torch.distributed` prints an exception of a rank."""
    lines = (TRACEBACK, '  File "a.py", line 1, in f', "    f()", "RuntimeError: closed by peer")
    text = "".join(f"[rank0]: {line}\n" for line in lines)
    assert error_of(f"begun\n{text}") == "RuntimeError: closed by peer (a.py:1 in f)"
    assert error_of(f"{text}W1129 12:00 Sending process 7 closing signal\n").startswith("Runtime")
