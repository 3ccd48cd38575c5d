"""Recorded requests, and how they are scaled to a service.

A trace is a CSV file, plain or gzip, with a column `arrival_s`, one of `context_tokens` and
`input_tokens`, and one of `generated_tokens` and `output_tokens`. Its minutes are scaled so that
the one with the most input tokens asks for a given share of capacity and the mean of all for
another: tokens of a minute become c × tokens^g. Requests of a minute are dropped or repeated at
random to get there; a repetition arrives at another second of its minute.
"""

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wattline_sim.facility.plant import dice
from wattline_sim.facility.plant.dice import Floats, Indexes

MINUTE_S = 60.0
LEAST_MINUTES, MOST_MINUTES = 10, 5 * 7 * 24 * 60
MOST_TOKENS = 10_000_000
INPUTS, OUTPUTS = ("context_tokens", "input_tokens"), ("generated_tokens", "output_tokens")
MOST_POWER = 16.0
_ROUNDS = 60
_COPY_SALT, _SECOND_SALT = 1 << 20, 1 << 21


class TraceUnusable(ValueError):
    """A file that is no trace of requests; the message says why."""


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests by arrival; one entry each."""

    arrival_s: Floats
    input_tokens: Floats
    output_tokens: Floats

    @property
    def minutes(self) -> int:
        """Whole minutes of the trace."""
        return int(self.arrival_s[-1] // MINUTE_S)

    def by_minute(self) -> Floats:
        """Input tokens of each whole minute."""
        minute = (self.arrival_s // MINUTE_S).astype(np.int64)
        tokens = np.bincount(minute, self.input_tokens, self.minutes)
        return np.asarray(tokens[: self.minutes], np.float64)

    def after_lead(self, lead_s: float) -> "Requests":
        """Those of the first seconds once more, and then all."""
        lead = int(np.searchsorted(self.arrival_s, lead_s))
        columns = (self.arrival_s + lead_s, self.input_tokens, self.output_tokens)
        before = (self.arrival_s, self.input_tokens, self.output_tokens)
        arrival_s, inputs, outputs = (
            np.concatenate([first[:lead], column])
            for first, column in zip(before, columns, strict=True)
        )
        return Requests(arrival_s, inputs, outputs)


def read_requests(path: Path) -> Requests:
    """The requests of a trace. Raises TraceUnusable."""
    rows = list(_rows(path))
    if not rows:
        raise TraceUnusable(f"{path}: no requests")
    found = [_column(path, rows[0], names) for names in (("arrival_s",), INPUTS, OUTPUTS)]
    try:
        columns = np.array([[float(row[name]) for name in found] for row in rows]).T
    except (TypeError, ValueError) as error:
        raise TraceUnusable(f"{path}: {error}") from error
    columns = columns[:, np.argsort(columns[0], kind="stable")]
    tokens = columns[1:]
    if not np.isfinite(columns).all() or (tokens < 1).any() or (tokens > MOST_TOKENS).any():
        text = f"each request needs 1 to {MOST_TOKENS} input tokens, and as many output tokens"
        raise TraceUnusable(f"{path}: {text}")
    requests = Requests(columns[0] - columns[0][0], columns[1], columns[2])
    is_fitting = LEAST_MINUTES <= requests.minutes <= MOST_MINUTES
    if not is_fitting or not requests.by_minute().all():
        text = f"{LEAST_MINUTES} to {MOST_MINUTES} whole minutes, each with a request"
        raise TraceUnusable(f"{path}: it needs {text}")
    return requests


def scaled(requests: Requests, peak: float, mean: float, seed: int) -> Requests:
    """The whole minutes, so that the busiest has `peak` input tokens a second and all `mean`."""
    tokens = requests.by_minute()
    goal = _shaped(tokens, peak * MINUTE_S, mean * MINUTE_S)
    minute = (requests.arrival_s // MINUTE_S).astype(np.int64)
    kept = np.flatnonzero(minute < requests.minutes)
    copies = _copies((goal / tokens)[minute[kept]], seed)
    chosen = np.repeat(kept, copies)
    number = np.arange(len(chosen)) - np.repeat(np.cumsum(copies) - copies, copies)
    arrival_s = _spread(requests.arrival_s[chosen], number, seed)
    order = np.argsort(arrival_s, kind="stable")
    chosen = chosen[order]
    return Requests(arrival_s[order], requests.input_tokens[chosen], requests.output_tokens[chosen])


def _shaped(tokens: Floats, peak: float, mean: float) -> Floats:
    """Tokens of each minute as c × tokens^g, with that peak and that mean."""
    share = tokens / tokens.max()
    low, high = 0.0, MOST_POWER
    if (share**high).mean() > mean / peak:
        text = f"its busiest minute has {1 / share.mean():.2f} times the tokens of the mean one"
        raise TraceUnusable(f"{text}, too little to be scaled to {peak / mean:.2f}")
    for _ in range(_ROUNDS):
        power = (low + high) / 2
        low, high = (power, high) if (share**power).mean() > mean / peak else (low, power)
    return np.asarray(peak * share**low)


def _copies(factor: Floats, seed: int) -> Indexes:
    """How often each request is sent, on average `factor` times."""
    keys = dice.keys_of(seed, len(factor))
    throw = dice.uniform(keys, np.full(len(factor), _COPY_SALT, np.uint64))
    return np.asarray(np.floor(factor + throw), np.int64)


def _spread(arrival_s: Floats, number: Indexes, seed: int) -> Floats:
    """Repetitions at other seconds of the same minute."""
    start_s = arrival_s // MINUTE_S * MINUTE_S
    keys = dice.keys_of(seed, len(arrival_s))
    throw = dice.uniform(keys, number.astype(np.uint64) + np.uint64(_SECOND_SALT))
    return np.where(number == 0, arrival_s, start_s + throw * MINUTE_S)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        packed = path.suffix == ".gz"
        opened = (gzip.open if packed else open)(path, "rt", encoding="utf-8", newline="")
        with opened as text:
            yield from csv.DictReader(text)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise TraceUnusable(f"cannot read {path}: {error}") from error


def _column(path: Path, row: dict[str, str], names: tuple[str, ...]) -> str:
    for name in names:
        if name in row:
            return name
    raise TraceUnusable(f"{path}: no column {' or '.join(names)}; it has {', '.join(row)}")
