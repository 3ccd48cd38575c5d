"""The table [tasks] of a site file: what tasks see of the environment of the keepers."""

import msgspec
import pytest

from support.core.sites import site
from wattline_protocol.site.file import SiteFileError, parse_site
from wattline_protocol.site.task_environment import MAX_PATTERNS
from wattline_protocol.site.text import format_site

TEXT = format_site(site().rack("a", 1).build())


def read(value: str) -> tuple[str, ...]:
    return parse_site(f"{TEXT}\n[tasks]\npass_env = {value}\n", "site.toml").pass_env


def test_names_and_beginnings_are_read_and_written() -> None:
    assert read('["HTTP_PROXY", "NCCL_*"]') == ("HTTP_PROXY", "NCCL_*")
    assert read('"HTTP_PROXY"') == ("HTTP_PROXY",)
    whole = msgspec.structs.replace(parse_site(TEXT, "site.toml"), pass_env=("A", "B*"))
    assert parse_site(format_site(whole), "site.toml") == whole


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ('["*"]', 'expected names of variables such as "HTTP_PROXY" or "NCCL_*", not \'*\''),
        ('["A=B"]', "expected names of variables"),
        ('["N*L"]', "expected names of variables"),
        (f'["{"A" * 200}"]', "expected names of variables"),
        ('["WATTLINE_*"]', "is set by Wattline and never passed on"),
        (str(["A"] * (MAX_PATTERNS + 1)), f"expected a list of 1 to {MAX_PATTERNS} texts"),
        ("7", "expected a list"),
    ],
)
def test_what_is_no_name_is_said(value: str, words: str) -> None:
    with pytest.raises(SiteFileError) as refused:
        read(value)
    assert words in str(refused.value)
