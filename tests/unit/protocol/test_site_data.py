"""The table [data] of a site file."""

import msgspec
import pytest

from support.core.sites import site
from wattline_protocol.data.site_data import SiteData
from wattline_protocol.site.file import SiteFileError, parse_site
from wattline_protocol.site.text import format_site

TEXT = format_site(site().rack("a", 1).build())


def read(lines: str) -> SiteData:
    return parse_site(f"{TEXT}\n[data]\n{lines}\n", "site.toml").data


def test_it_is_read_and_written() -> None:
    lines = """store = "s3://Bucket"
        allow = ["S3.lab:9000"]
        paths = ["/scratch//data/"]
        endpoint = "https://s3.lab:9000/"
        region = "lab"
    """.replace("Bucket", "data-sets/of/lab/")
    expected = SiteData(
        store="s3://data-sets/of/lab",
        allow=("s3.lab:9000",),
        paths=("/scratch/data",),
        endpoint="https://s3.lab:9000",
        region="lab",
    )
    assert read(lines) == expected
    whole = msgspec.structs.replace(parse_site(TEXT, "site.toml"), data=expected)
    assert parse_site(format_site(whole), "site.toml") == whole


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('store = "data"', 'expected a store such as "/srv/data" or "s3://bucket/prefix"'),
        ('store = "gs://x"', "expected a store such as"),
        ('store = "s3://a_b"', "'a_b' is no name of a bucket"),
        ('store = "s3://bucket/a/../b"', "'..' cannot be part of a prefix"),
        ('paths = ["/"]', "expected a store such as"),
        ('paths = ["s3://bucket"]', 'expected directories, as in ["/srv/data"]'),
        ('allow = ["https://x"]', 'expected hosts, as in ["s3.example.org:9000"]'),
        ('endpoint = "s3.lab"', 'expected a URL such as "https://s3.example.org:9000"'),
        ('endpoint = "https://key:secret@s3.lab"', "expected a URL such as"),
        ('endpoint = "https://s3.lab/path"', "expected a URL such as"),
        ('region = "a b"', 'expected a region such as "eu-central-1"'),
    ],
)
def test_what_leads_nowhere_is_refused(line: str, words: str) -> None:
    with pytest.raises(SiteFileError) as refused:
        read(line)
    assert words in str(refused.value)
