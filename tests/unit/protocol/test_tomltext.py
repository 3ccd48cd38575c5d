"""Where keys stand in a text, and TOML as we write it."""

import tomllib

import pytest

from wattline_protocol.text.toml import document_text, key_lines, line_of, value_text
from wattline_protocol.text.toml_fields import MAX_COMPARED_CHARS, nearest

TEXT = '''\
# a comment with = and [brackets]
title = "x # not a comment"  # but this is one
long = """
first = 1
[not.a.table]
\\"""" # ends here
literal = \'\'\'
it's = "quoted"
\'\'\'
a.b.c = 1
"quoted key" . 'second' = 2

[table] # comment
list = [
  1, "]", # comment ]
  { inner = 1, deep = { deeper = "}" } },
]
when = 1979-05-27T07:32:00Z

[[node]]
name = "a"
[node.sub]
x = 1
[[node]]
name = "b\\u0041\\\\"
[[node.input]]
y = 1
[[node.input]]
y = 2
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 2),
        (("long",), 3),
        (("literal",), 7),
        (("a",), 10),
        (("a", "b", "c"), 10),
        (("quoted key", "second"), 11),
        (("table",), 13),
        (("table", "list"), 14),
        (("table", "list", 1), 15),
        (("table", "list", 2, "inner"), 16),
        (("table", "list", 2, "deep", "deeper"), 16),
        (("table", "when"), 18),
        (("node", 0), 20),
        (("node", 0, "name"), 21),
        (("node", 0, "sub", "x"), 23),
        (("node", 1, "name"), 25),
        (("node", 1, "input", 0, "y"), 27),
        (("node", 1, "input", 1, "y"), 29),
    ],
)
def test_the_line_of_a_key(path: tuple[str | int, ...], line: int) -> None:
    tomllib.loads(TEXT)  # the text itself is right
    assert key_lines(TEXT)[path] == line


def test_strings_inside_values_are_no_keys() -> None:
    assert ("first",) not in key_lines(TEXT)
    assert ("it's",) not in key_lines(TEXT)


def test_a_missing_key_stands_where_its_table_stands() -> None:
    lines = key_lines(TEXT)
    assert line_of(lines, ("node", 1, "rack")) == 24
    assert line_of(lines, ("nothing", "at", "all")) == 1


def test_an_empty_text_has_no_keys() -> None:
    assert key_lines("") == {}
    assert key_lines("# only a comment") == {}


def test_what_toml_has_no_form_for_is_not_written() -> None:
    with pytest.raises(TypeError, match="no form for a NoneType"):
        value_text(None)


def test_a_document_is_read_back() -> None:
    document = {
        "text": 'quotes " and \\ and \n and \x01',
        "numbers": [1, -2.5, True],
        "nothing": [],
        "odd key!": {"x": {"inner": 1, "empty": {}}},
        "table": [{"a": 1}, {"a": 2}],
    }
    assert tomllib.loads(document_text(document)) == document


def test_of_many_words_the_nearest_is_among_those_that_begin_and_end_alike() -> None:
    words = [f"n{number:05}" for number in range(20_000)]
    assert nearest("n01234x", words) == "n01234"
    assert nearest("zzz", words) == ""


def test_a_word_too_long_for_a_slip_has_no_nearest_one() -> None:
    long = "x" * MAX_COMPARED_CHARS
    assert nearest(long[1:], [long]) == long
    assert nearest(f"{long}y", [long, f"{long}z"]) == ""
    assert nearest(long, [f"{long}z"]) == ""
