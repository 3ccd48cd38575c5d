"""The table [containers] of a site file."""

import msgspec
import pytest

from support.core.sites import site
from wattline_protocol.site.containers import MAX_MOUNTS, Containers
from wattline_protocol.site.file import SiteFileError, parse_site
from wattline_protocol.site.text import format_site

TEXT = format_site(site().rack("a", 1).build())


def read(lines: str) -> Containers:
    return parse_site(f"{TEXT}\n[containers]\n{lines}\n", "site.toml").containers


def test_it_is_read_and_written() -> None:
    lines = 'runtime = "/usr/bin/runc"\nimages = "/srv/images"\nmounts = ["/data:ro", "/scratch"]'
    expected = Containers("/usr/bin/runc", "/srv/images", ("/data:ro", "/scratch"))
    assert read(lines) == expected
    whole = msgspec.structs.replace(parse_site(TEXT, "site.toml"), containers=expected)
    assert parse_site(format_site(whole), "site.toml") == whole


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('runtime = "--root=/"', "expected an OCI runtime such as"),
        ('images = "images"', 'expected an absolute path, as in "/srv/images", or "~/images"'),
        ('images = "/a,/b"', "expected an absolute path"),
        (
            'mounts = ["data"]',
            'expected absolute paths, as in ["/data:ro", "/scratch"], not \'data\'',
        ),
        ('mounts = ["/a:/etc"]', "expected absolute paths"),
        (f"mounts = {['/a'] * (MAX_MOUNTS + 1)}", f"expected a list of 1 to {MAX_MOUNTS} texts"),
    ],
)
def test_what_podman_would_misread_is_refused(line: str, words: str) -> None:
    with pytest.raises(SiteFileError) as refused:
        read(line)
    assert words in str(refused.value)
