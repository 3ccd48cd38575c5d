"""Models from checkpoints: of a run, or in a directory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec

from wattline.client import Client, NotFound
from wattline.data.stores import store_of
from wattline.exits import NOT_FOUND
from wattline.failures import ActFailed
from wattline.runs.acts import read_run
from wattline.runs.run import Run
from wattline.task.manifest import MANIFEST, check
from wattline.task.saves import Checkpoint, checkpoints
from wattline_protocol.data.requests import DataPlace, Origin
from wattline_protocol.views.training_views import CheckpointView
from wattline_protocol.wire.bounds import MAX_SENTENCE_CHARS
from wattline_runtime.data.copy_out import copy_version

CUT = " … (cut)"


class Source(NamedTuple):
    """The files of a version, and what they were made from."""

    path: Path
    origins: tuple[Origin, ...]


@contextmanager
def from_run(client: Client, text: str, place: DataPlace) -> Iterator[Source]:
    """The newest intact checkpoint of a run's job: of the directory that all hosts mount, else of
    the store where the job keeps them, copied for as long as it takes."""
    run = read_run(client, text)
    home = Path(place.checkpoint_root) / str(run.job)
    home = home if run.index is None else home / f"index-{run.index}"
    here = checkpoints(home) if place.checkpoint_root else ()
    found = next((one for one in here if isinstance(one, Checkpoint)), None)
    if found is not None:
        directory = _origin(found.path.parent, found.step)
        yield Source(found.path, (*_of_run(run), directory, *data_of(client, run)))
        return
    kept = _kept(client, run)
    if kept is None or kept.stored is None:
        raise _has_none(run, home, place)
    with TemporaryDirectory(prefix="wattline-model-") as folder:
        copy = Path(folder) / f"0-step-{kept.stored.step}"
        store = store_of(msgspec.structs.replace(place, store=kept.stored_in))
        copy_version(store, kept.stored.sha256, copy)
        detail = f"step {kept.stored.step}, {kept.stored.sha256}"
        origin = Origin("checkpoint", kept.stored_in, detail)
        source = from_directory(copy)
        yield Source(source.path, (*_of_run(run), origin, *data_of(client, run)))


def _kept(client: Client, run: Run) -> CheckpointView | None:
    """What is known of the checkpoints of its job; a store that was restored may not have that."""
    try:
        return client.job(run.job).checkpoint
    except NotFound:
        return None


def _has_none(run: Run, home: Path, place: DataPlace) -> ActFailed:
    if place.checkpoint_root:
        text = f"run {run.run} has no intact checkpoint in {home} here, and none in the store"
        return ActFailed(text, NOT_FOUND)
    where = f"a directory of its node ({', '.join(run.nodes)})"
    return ActFailed(
        f"the site has no checkpoint_root, so that checkpoints of run {run.run} are in {where}, and"
        " none is in the store (data.outputs): run this there, with --from-checkpoint DIR"
    )


def data_of(client: Client, run: Run) -> tuple[Origin, ...]:
    """Versions that a run read."""
    found = (client.data_version(name).version for name in run.datasets)
    return tuple(Origin("data", one.reference, one.sha256) for one in found)


def from_directory(directory: Path) -> Source:
    """A checkpoint that `wattline.task` has saved, which is verified; or any other folder."""
    if not (directory / MANIFEST).is_file():
        return Source(directory, (Origin("checkpoint", str(directory.resolve())),))
    step = int(directory.name.rpartition("-")[2]) if "-step-" in directory.name else -1
    try:
        check(directory, step, verify=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ActFailed(f"{directory} is no intact checkpoint: {error}") from error
    return Source(directory / "data", (_origin(directory, step),))


def _origin(directory: Path, step: int) -> Origin:
    return Origin("checkpoint", str(directory.resolve()), f"step {step}")


def _of_run(run: Run) -> tuple[Origin, ...]:
    origins = [Origin("run", run.run, run.name)]
    if run.code is not None:
        is_clean = not run.code.diff_bytes
        changed = "" if is_clean else f"with changes, SHA-256 {run.code.diff_sha256}"
        origins.append(Origin("commit", run.code.commit, changed))
    # Options of the command are for its owner: they may hold a key.
    if run.parameters:
        text = msgspec.json.encode(run.parameters).decode()
        if len(text) > MAX_SENTENCE_CHARS:
            text = text[: MAX_SENTENCE_CHARS - len(CUT)] + CUT
        origins.append(Origin("parameters", run.run, text))
    return tuple(origins)
