"""What users add to some jobs: jobs to wait for, windows, deadlines, limits of what they use.

All of it lets every job end once the site is healed: windows open within minutes and for hours.
"""

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from wattline_protocol.ids import JobId
from wattline_protocol.job.spec import IdleRule, JobSpec, Windows
from wattline_protocol.text.windows import DAYS
from wattline_sim.fleet.world import START_UNIX_S

OPEN_HOURS = 6


def with_wishes(spec: JobSpec, accepted: Mapping[JobId, JobSpec], dice: random.Random) -> JobSpec:
    """The job as its user submits it, once it is known which others were accepted."""
    spec = _waiting(spec, accepted, dice)
    wish = dice.choice(("", "", "", "", "window", "deadline", "energy", "idle"))
    limits, windows = spec.limits, spec.windows
    match wish:
        case "window":
            windows = Windows(start_only=(_window(dice),))
        case "deadline" if spec.kind != "service":
            due = datetime.fromtimestamp(START_UNIX_S + dice.uniform(20.0, 200.0), UTC)
            windows = Windows(deadline=due.isoformat())
        case "energy":
            limits = msgspec.structs.replace(limits, energy_wh=dice.uniform(0.5, 20.0))
        case "idle":
            action: Literal["stop", "warn"] = dice.choice(("stop", "warn"))
            rule = IdleRule(dice.uniform(0.1, 1.0), dice.uniform(1.0, 8.0), action)
            limits = msgspec.structs.replace(limits, idle_gpu=rule)
    return msgspec.structs.replace(spec, limits=limits, windows=windows)


def _waiting(spec: JobSpec, accepted: Mapping[JobId, JobSpec], dice: random.Random) -> JobSpec:
    if not accepted or dice.random() > 0.25:
        return spec
    parent = dice.choice(sorted(accepted))
    if dice.random() < 0.5:
        return msgspec.structs.replace(spec, after_any=(parent,))
    return msgspec.structs.replace(spec, after_ok=(parent,))


def _window(dice: random.Random) -> str:
    """Opens a minute or two after the start of the run."""
    opens = datetime.fromtimestamp(START_UNIX_S, UTC) + timedelta(minutes=dice.randint(1, 2))
    closes = opens + timedelta(hours=OPEN_HOURS)
    return f"{DAYS[opens.weekday()]} {opens:%H:%M}-{closes:%H:%M}"
