"""Adds versions of data sets: hashed here, put into the store, then registered."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec

from wattline import exits
from wattline.client import Client
from wattline.client.errors import Busy, Conflict
from wattline.data import models
from wattline.data.check_new import check_new
from wattline.data.progress import Steps, steps
from wattline.data.properties import set_change
from wattline.data.stores import store_errors, store_of
from wattline.failures import ActFailed
from wattline.show.screen import put_error
from wattline_protocol.data.checks import DataCheck
from wattline_protocol.data.references import parse_reference
from wattline_protocol.data.requests import DataAdded, DataPlace, Kind, Origin, SetChange
from wattline_protocol.data.store_url import parse_store_url
from wattline_runtime.data.add import NewVersion
from wattline_runtime.data.copy_out import copy_out
from wattline_runtime.data.stores.interface import Store

BUCKET = "s3://"

DELETION_WAIT_S = 600.0
DELETION_POLL_S = 1.0


class Adding(NamedTuple):
    """What is registered of a version besides its content."""

    name: str
    kind: Kind
    made_from: tuple[Origin, ...]
    change: SetChange
    verdict: DataCheck | None


def add(
    client: Client,
    *,
    name: str,
    path: str | None,
    model: bool,
    from_run: str | None,
    from_checkpoint: str | None,
    store: str | None,
    made_from: tuple[str, ...],
    reader: tuple[str, ...],
    reviewer: tuple[str, ...],
    retention: float | None,
    contains: tuple[str, ...],
    secret: str | None,
    no_check: bool,
) -> DataAdded:
    """Add a folder, or the checkpoint of a run, as the next version of a set."""
    _check_sources(path, from_run, from_checkpoint, model=model)
    change = set_change(reader, reviewer, retention, contains, secret)
    origins = [_origin(client, reference) for reference in made_from]
    with store_errors(), steps() as line:
        kind: Kind = "model" if model else "dataset"
        place = client.prepare_data(name, kind, _absolute(store or ""))
        opened = store_of(place)
        found = _source(client, place, path, from_run, from_checkpoint)
        line.begin("hashing")
        with found as source, NewVersion(source.path, line.passed) as version:
            verdict = None if model or no_check else check_new(client, name, version, opened)
            adding = Adding(name, kind, (*source.origins, *origins), change, verdict)
            try:
                return _put(client, adding, version, opened, place, line)
            except KeyboardInterrupt:
                put_error("Interrupted: the same command continues with what is in the store.")
                raise


@contextmanager
def _source(
    client: Client,
    place: DataPlace,
    path: str | None,
    from_run: str | None,
    from_checkpoint: str | None,
) -> Iterator[models.Source]:
    """The files of the version, on this host for as long as they are needed."""
    if from_run is not None:
        with models.from_run(client, from_run, place) as source:
            yield source
    elif from_checkpoint is not None:
        yield models.from_directory(Path(from_checkpoint))
    elif path is not None and path.startswith(BUCKET):
        with _copied(path, place) as folder:
            yield models.Source(folder, ())
    else:
        yield models.Source(Path(path or ""), ())


@contextmanager
def _copied(given: str, place: DataPlace) -> Iterator[Path]:
    """The files of a bucket in a temporary folder."""
    try:
        url = parse_store_url(given).text
    except ValueError as error:
        raise ActFailed(str(error), exits.USAGE) from error
    bucket = store_of(msgspec.structs.replace(place, store=url))
    with TemporaryDirectory(prefix="wattline-data-") as folder:
        copy_out(bucket, Path(folder))
        yield Path(folder)


def _put(
    client: Client,
    adding: Adding,
    version: NewVersion,
    store: Store,
    place: DataPlace,
    line: Steps,
) -> DataAdded:
    """Puts and registers a version, again if objects that it shares were deleted meanwhile."""
    stored_bytes = 0
    give_up_at = time.monotonic() + DELETION_WAIT_S
    while True:
        line.begin("storing", version.tree.size)
        stored_bytes += version.put(store, line.passed).bytes
        try:
            return client.add_data(
                adding.name,
                place,
                kind=adding.kind,
                sha256=version.tree.sha256,
                files=version.tree.files,
                size=version.tree.size,
                stored_bytes=stored_bytes,
                made_from=adding.made_from,
                change=adding.change,
                verdict=adding.verdict,
            )
        except (Busy, Conflict):
            before, place = place, client.prepare_data(adding.name, adding.kind, place.store)
            if place.as_of == before.as_of:  # a deletion is under way, or it is another conflict
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(DELETION_POLL_S)


def _check_sources(
    path: str | None, from_run: str | None, from_checkpoint: str | None, *, model: bool
) -> None:
    given = [one for one in (path, from_run, from_checkpoint) if one is not None]
    if len(given) != 1:
        text = "name one of a PATH, --from-run RUN and --from-checkpoint DIR"
        raise ActFailed(text, exits.USAGE)
    if path is not None and "://" in path and not path.startswith(BUCKET):
        text = f"{path}: of URLs only {BUCKET}BUCKET/PREFIX is read; fetch it, and add the folder"
        raise ActFailed(text, exits.USAGE)
    if path is None and not model:
        raise ActFailed("a checkpoint becomes a model: add --model", exits.USAGE)


def _origin(client: Client, text: str) -> Origin:
    try:
        parse_reference(text)
    except ValueError as error:
        raise ActFailed(f"--from {text}: {error}", exits.USAGE) from error
    version = client.data_version(text).version
    return Origin("data", version.reference, version.sha256)


def _absolute(store: str) -> str:
    """A directory from where the command runs."""
    return store if not store or "://" in store else str(Path(store).absolute())
