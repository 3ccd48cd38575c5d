"""The table [run_as] of a site file: who runs as which account of the hosts."""

import msgspec
import pytest

from support.core.sites import site
from wattline_protocol.ids import UserName
from wattline_protocol.site.checks import site_warnings
from wattline_protocol.site.file import SiteFileError, parse_site
from wattline_protocol.site.model import RunAs
from wattline_protocol.site.run_as import account_of, may_be_root
from wattline_protocol.site.text import format_site, site_template

TEXT = format_site(site().rack("a", 1).build())
ADA = {UserName("ada"): "ada.l"}


def read(table: str) -> RunAs | None:
    return parse_site(f"{TEXT}\n{table}\n", "site.toml").run_as


def test_the_table_is_read_and_written() -> None:
    rules = read('[run_as]\nothers = "same"\nusers = { ada = "ada.l", ci = "build" }')
    assert rules == RunAs({UserName("ada"): "ada.l", UserName("ci"): "build"}, "same")
    whole = msgspec.structs.replace(parse_site(TEXT, "site.toml"), run_as=rules)
    assert parse_site(format_site(whole), "site.toml") == whole


def test_an_empty_table_names_nobody_and_none_names_the_keeper() -> None:
    assert read("[run_as]") == RunAs()
    assert read("") is None


@pytest.mark.parametrize(
    ("rules", "user", "account"),
    [
        (None, "ada", ""),
        (None, "root", ""),
        (RunAs(), "ada", None),
        (RunAs(ADA), "ada", "ada.l"),
        (RunAs(ADA), "bob", None),
        (RunAs(ADA, "same"), "bob", "bob"),
        (RunAs(ADA, "same"), "ada", "ada.l"),
        (RunAs(ADA, "same"), "root", None),
        (RunAs({UserName("boss"): "root"}), "boss", "root"),
        (RunAs(ADA, "keeper"), "ada", "ada.l"),
        (RunAs(ADA, "keeper"), "bob", ""),
    ],
)
def test_who_runs_as_whom(rules: RunAs | None, user: str, account: str | None) -> None:
    assert account_of(rules, user) == account


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('[run_as]\nothers = "root"', "expected one of same, refuse, keeper"),
        ('[run_as]\nusers = { ada = "a b" }', "ada: expected the name of an account on the hosts"),
        ('[run_as]\nusers = { ada = "../x" }', "expected the name of an account"),
        ("[run_as]\nusers = { ada = 1000 }", "text"),
        ('[run_as]\nusers = "ada"', "expected a table such as"),
        ('[run_as]\nuser = { ada = "ada" }', "the nearest is users"),
    ],
)
def test_what_is_wrong_is_said(table: str, words: str) -> None:
    with pytest.raises(SiteFileError) as refused:
        read(table)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("rules", "said", "is_root"),
    [
        (None, ["there is no [run_as]: a node whose keeper is root gets no task"], False),
        (RunAs(ADA, "same"), [], False),
        (RunAs(ADA), [], False),
        (RunAs(ADA, "keeper"), ['others = "keeper": where the keeper is root'], True),
        (RunAs({UserName("boss"): "root"}, "same"), ["tasks of boss are root"], True),
    ],
)
def test_a_site_that_lets_tasks_be_root_is_told(
    rules: RunAs | None, said: list[str], is_root: bool
) -> None:
    whole = msgspec.structs.replace(site().rack("a", 1).build(), run_as=rules)
    reported = [warning for warning in site_warnings(whole) if "[run_as]" in warning]
    assert len(reported) == len(said)
    assert all(words in warning for words, warning in zip(said, reported, strict=True))
    assert may_be_root(rules) is is_root


def test_the_file_of_a_new_site_says_as_whom_its_admin_runs() -> None:
    text = site_template("lab", "tcp://h:1", "tcp://h:2", {"admin": "ada.l"})
    assert parse_site(text, "s").run_as == RunAs({UserName("admin"): "ada.l"}, "same")
    assert parse_site(site_template("lab", "tcp://h:1", "tcp://h:2"), "s").run_as is None
