"""Containers of tasks: the table [containers] of a site file."""

import re
from typing import Annotated, Any

import msgspec

from wattline_protocol.text.toml_fields import Fields, text, texts
from wattline_protocol.wire.bounds import Path, Word

MAX_MOUNTS = 64

_RUNTIME = re.compile(r"[A-Za-z0-9/][A-Za-z0-9/._-]{0,255}")
_MOUNT = re.compile(r"/[^:,\n\0]{1,1023}(?::ro)?")

Mounts = Annotated[tuple[Path, ...], msgspec.Meta(max_length=MAX_MOUNTS)]


class Containers(msgspec.Struct, frozen=True):
    """How agents start the containers of tasks."""

    runtime: Word[str] = ""
    """OCI runtime, a name or a path; empty: podman's own choice."""
    images: Path = ""
    """Store of images on each node, of which containers only read; `~/` is the home of the task's
    account. Empty: the account's own of podman."""
    mounts: Mounts = ()
    """Directories that each container sees besides its own, `:ro` to read only."""


USUAL_CONTAINERS = Containers()


def containers(top: Fields) -> Containers:
    """The table of the site file."""
    fields = top.table("containers")
    usual = USUAL_CONTAINERS
    found = Containers(
        runtime=fields.take("runtime", _runtime, usual.runtime),
        images=fields.take("images", _store, usual.images),
        mounts=fields.take("mounts", _mounts, usual.mounts),
    )
    fields.end()
    return found


def _runtime(value: object) -> str:
    name = text(value)
    if _RUNTIME.fullmatch(name) is None:
        raise ValueError(f'expected an OCI runtime such as "crun" or "/usr/bin/runc", not {name!r}')
    return name


def _store(value: object) -> str:
    path = text(value)
    if _MOUNT.fullmatch(path.removeprefix("~")) is None or path.endswith(":ro"):
        raise ValueError('expected an absolute path, as in "/srv/images", or "~/images"')
    return path


def _mounts(value: object) -> tuple[str, ...]:
    return tuple(map(_mount, texts(MAX_MOUNTS)(value)))


def _mount(path: str) -> str:
    if _MOUNT.fullmatch(path) is None:
        raise ValueError(f'expected absolute paths, as in ["/data:ro", "/scratch"], not {path!r}')
    return path


def containers_keys(found: Containers) -> dict[str, Any]:
    """The table, for `containers`."""
    usual = USUAL_CONTAINERS
    keys = {"runtime": found.runtime, "images": found.images, "mounts": list(found.mounts)}
    defaults = {"runtime": usual.runtime, "images": usual.images, "mounts": list(usual.mounts)}
    return {name: value for name, value in keys.items() if value != defaults[name]}
