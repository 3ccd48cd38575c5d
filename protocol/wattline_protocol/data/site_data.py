"""Stores of data sets: the table [data] of a site file, and which stores a member may name."""

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec

from wattline_protocol.data.store_url import (
    MAX_URL_CHARS,
    StoreUrl,
    is_below,
    parse_store_url,
)
from wattline_protocol.text.toml_fields import Fields, text, texts
from wattline_protocol.text.wording import listed
from wattline_protocol.wire.bounds import PLAIN

MAX_LISTED = 64
AWS_HOST = "amazonaws.com"
"""Stands for the hosts of AWS, where the site has no endpoint of its own."""

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(?::[0-9]{1,5})?")

Url = Annotated[str, msgspec.Meta(max_length=MAX_URL_CHARS, pattern=PLAIN)]
Urls = Annotated[tuple[Url, ...], msgspec.Meta(max_length=MAX_LISTED)]


class SiteData(msgspec.Struct, frozen=True):
    """Where data sets lie."""

    store: Url = ""
    """Of sets that name none; empty: each new one must name its own."""
    allow: Urls = ()
    """Hosts that the store of a member may be on, besides that of `store`."""
    paths: Urls = ()
    """Directories below which a local store of a member may be, besides `store`."""
    endpoint: Url = ""
    """URL of an S3-compatible server; empty: AWS."""
    region: Url = ""


USUAL_DATA = SiteData()

_NONE: tuple[str, ...] = ()


def site_data(top: Fields) -> SiteData:
    """The table of the site file."""
    fields = top.table("data")
    found = SiteData(
        store=fields.take("store", _store, ""),
        allow=fields.take("allow", _hosts, _NONE),
        paths=fields.take("paths", _paths, _NONE),
        endpoint=fields.take("endpoint", _endpoint, ""),
        region=fields.take("region", _region, ""),
    )
    fields.end()
    return found


def site_data_keys(found: SiteData) -> dict[str, Any]:
    """The table, for `site_data`."""
    keys = {
        "store": found.store,
        "allow": list(found.allow),
        "paths": list(found.paths),
        "endpoint": found.endpoint,
        "region": found.region,
    }
    return {name: value for name, value in keys.items() if value}


def why_not_allowed(site: SiteData, url: StoreUrl) -> str:
    """Why a member may not name this store; empty = it may."""
    usual = parse_store_url(site.store) if site.store else None
    if usual is not None and url == usual:
        return ""
    if url.kind == "local":
        if any(is_below(url.place, directory) for directory in site.paths):
            return ""
        below = listed(site.paths) or "none"
        return f"{url.text} is below no directory of [data] paths in the site file ({below})"
    host = host_of(site)
    if host in site.allow or (usual is not None and usual.kind == "s3"):
        return ""
    allowed = listed(site.allow) or "none"
    return f"{url.text} is on {host}, and [data] allow in the site file lists {allowed}"


def host_of(site: SiteData) -> str:
    """The host, with its port where that is not the usual one, of all S3 stores of a site."""
    return urlsplit(site.endpoint).netloc.lower() if site.endpoint else AWS_HOST


def _store(value: object) -> str:
    return parse_store_url(text(value)).text


def _paths(value: object) -> tuple[str, ...]:
    found = tuple(parse_store_url(path) for path in texts(MAX_LISTED)(value))
    for one in found:
        if one.kind != "local":
            raise ValueError(f'expected directories, as in ["/srv/data"], not {one.text!r}')
    return tuple(one.place for one in found)


def _hosts(value: object) -> tuple[str, ...]:
    hosts = tuple(host.lower() for host in texts(MAX_LISTED)(value))
    for host in hosts:
        if _HOST.fullmatch(host) is None:
            raise ValueError(f'expected hosts, as in ["s3.example.org:9000"], not {host!r}')
    return hosts


def _endpoint(value: object) -> str:
    url = urlsplit(text(value))
    is_plain = not (url.username or url.password or url.query or url.fragment)
    is_host = _HOST.fullmatch(url.netloc) is not None and url.path in ("", "/")
    if url.scheme not in ("http", "https") or not is_plain or not is_host:
        raise ValueError('expected a URL such as "https://s3.example.org:9000", without a user')
    return f"{url.scheme}://{url.netloc}"


def _region(value: object) -> str:
    if _HOST.fullmatch(given := text(value)) is None:
        raise ValueError(f'expected a region such as "eu-central-1", not {given!r}')
    return given
