"""Rolls out a new revision of a service, shows the rollout, promotes it, or goes back."""

from pathlib import Path
from typing import Literal

from wattline import exits
from wattline.acts.submit import job_spec, put_hints, put_warning
from wattline.client import Client
from wattline.failures import ActFailed
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.text.quantities import parse_percent
from wattline_protocol.wire.rollouts import NO_DIFFERENCE, RolloutOptions, RolloutView

STATUS = "status"
STEPS: dict[str, Literal["promote", "back"]] = {"promote": "promote", "back": "back"}
WORDS = (STATUS, *STEPS)
"""In place of a job file."""


def rollout(
    client: Client,
    *,
    name: str,
    what: str | None,
    canary: str | None,
    shadow: str | None,
    compare: str | None,
    in_place: bool,
) -> RolloutView:
    """The rollout of the service, after what was requested; None requests nothing."""
    what = what or STATUS
    is_file = what not in WORDS
    if not is_file and (canary or shadow or compare or in_place):
        text = f"--canary, --shadow, --compare and --in-place belong to a job file, not to {what}"
        raise ActFailed(text, exits.USAGE)
    if is_file:
        options = RolloutOptions(
            _permille("--canary", canary),
            _permille("--shadow", shadow),
            compare or NO_DIFFERENCE,
            in_place,
        )
        spec = _revision(name, what)
        put_hints(spec)
        put_warning(client.submit_warned(spec, rollout=options).warning)
    elif what in STEPS:
        client.steer_rollout(name, STEPS[what])
    return client.rollout(name)


def _revision(name: str, file: str) -> JobSpec:
    """The job of the file. One of another name is refused: it may well be of another service."""
    if not Path(file).exists():
        raise ActFailed(_no_file(name, file), exits.NOT_FOUND)
    spec = job_spec(str(Path(file)), (), {})
    if spec.name != name:
        text = f"{file} is a job of the name {spec.name}, not {name}"
        right = f'set name = "{name}" in it, or use `wattline rollout {spec.name} {file}`'
        raise ActFailed(f"{text}: {right}", exits.USAGE)
    return spec


def _no_file(name: str, file: str) -> str:
    """Why `file` is nothing to roll out. kubectl has the name after the word."""
    if name in WORDS:
        return f"the name of the service comes first: `wattline rollout {file} {name}`"
    return f"no job file {file}; without a file it is one of {', '.join(WORDS)}"


def _permille(flag: str, text: str | None) -> int:
    """Thousandths of a share such as 5%; without one, 0."""
    if text is None:
        return 0
    try:
        permille = round(parse_percent(text) * 1000)
    except ValueError as error:
        raise ActFailed(f"{flag} {text}: {error}", exits.USAGE) from error
    if not 0 < permille < 1000:
        raise ActFailed(f"{flag} {text}: a share is at least 0.1% and below 100%", exits.USAGE)
    return permille
