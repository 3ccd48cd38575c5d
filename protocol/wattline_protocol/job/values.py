"""Readers for the values of a job file: command, array, priority, environment, windows …

Each converts a raw TOML value to its form in `JobSpec`, or raises ValueError with a valid form.
"""

import datetime
import re
import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from wattline_protocol.job.spec import PRIORITIES, ArraySpec
from wattline_protocol.site.wall_power import PERMILLE
from wattline_protocol.text.moments import check_year
from wattline_protocol.text.names import check_name
from wattline_protocol.text.quantities import (
    format_duration,
    parse_cost_usd,
    parse_energy_wh,
    parse_job_duration_s,
)
from wattline_protocol.text.spans import folded
from wattline_protocol.text.toml_fields import (
    Reader,
    above_zero,
    choice,
    nearest,
    number,
    quantity,
    text,
    texts,
    whole,
)
from wattline_protocol.text.windows import parse_window

MAX_ARRAY_INDICES = 10_000
"""Indices of one array; larger sweeps are several jobs."""
MAX_ARRAY_INDEX = 10_000_000
MAX_COMMAND_CHARS = 64 * 1024
"""Half of what Linux accepts for one argument; scripts belong in files."""
MAX_COMMAND_WORDS = 1024
MAX_ENV_VARIABLES = 256
MAX_ENV_CHARS = 64 * 1024
MAX_PATH_CHARS = 1024
MAX_WINDOWS = 50
MAX_PARENTS = 1000
"""Jobs that one job depends on; an array is one job."""
ROUNDING = 1e-6
"""Tolerance in thousandths: binary rounding of decimal fractions."""

_SHELL_SIGNS = ("|", "||", "&", "&&", ";", "<", ">", ">>", "2>&1", "`")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED_ENV = ("CUDA_VISIBLE_DEVICES",)
_RESERVED_PREFIX = "WATTLINE_"
_OPEN_PREFIX = "WATTLINE_SIM_"
"""Variables of simulated hardware: a user may name a load profile."""
_COUNT_RANGE = re.compile(r"\s*(\d{1,6})\s*(?:-\s*(\d{1,6})\s*)?")
_SPAN = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?")
_DIGITS = re.compile(r" *[0-9]{1,15} *")
_MIG = re.compile(r"(?:[1-7]c\.)?[1-7]g\.\d{1,3}gb(?:[+-][a-z.]{1,10})?")


def name(value: object) -> str:
    """A name that is valid in paths."""
    return check_name(text(value))


def command(value: object) -> tuple[str, ...]:
    """A list of words, or one string that is split as a POSIX shell splits words.

    No shell runs it: no variables, globs or pipes. Characters with a meaning only to a shell are
    refused in a string, because the program would receive them as words.
    """
    if isinstance(value, str):
        words = _split(value)
    elif isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        words = [str(word) for word in value]
    else:
        raise ValueError('expected a list of words, as in ["python", "train.py"], or one string')
    if not words or not words[0].strip():
        raise ValueError("expected at least the program to run")
    if any("\0" in word for word in words):
        raise ValueError("expected words without NUL characters")
    if len(words) > MAX_COMMAND_WORDS or sum(map(len, words)) > MAX_COMMAND_CHARS:
        raise ValueError(
            f"expected at most {MAX_COMMAND_WORDS} words and {MAX_COMMAND_CHARS} characters"
        )
    return tuple(words)


def _split(line: str) -> list[str]:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise ValueError(f"cannot be split into words: {error}") from error
    for sign in _SHELL_SIGNS:
        if sign in words:
            raise ValueError(f'no shell runs this, so "{sign}" has no meaning; use ["sh", "-c", …]')
    return words


def array(value: object) -> ArraySpec:
    """ "0-31%8", "1,3,5-9", "0-31:4": indices, and after % how many run at a time."""
    wanted = 'expected indices such as "0-31", "0-31:4", "1,3,5-9" or "0-31%8" (8 at a time)'
    if not isinstance(value, str):
        raise ValueError(wanted)
    spans, percent, limit = value.replace(" ", "").partition("%")
    if percent and (not limit.isascii() or not limit.isdigit() or not int(limit[:9]) > 0):
        raise ValueError(wanted)
    indices: set[int] = set()
    for span in spans.split(","):
        added = _indices(span, wanted)
        if not indices.isdisjoint(added):
            raise ValueError(f"{span} repeats an index")
        indices.update(added)
        if len(indices) > MAX_ARRAY_INDICES:
            raise ValueError(f"expected at most {MAX_ARRAY_INDICES} indices")
    return ArraySpec(tuple(sorted(indices)), min(int(limit or 0), MAX_ARRAY_INDICES))


def _indices(span: str, wanted: str) -> range:
    match = _SPAN.fullmatch(span)
    if match is None:
        raise ValueError(wanted)
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first or last > MAX_ARRAY_INDEX:
        raise ValueError(f"{span} is not a range: the smaller first, at most {MAX_ARRAY_INDEX}")
    if not (step := int(match[3] or 1)):
        raise ValueError(f"{span} has the step 0; omit it for every index")
    return range(first, min(last, first + MAX_ARRAY_INDICES * step) + 1, step)


def array_text(spec: ArraySpec) -> str:
    """The text form of an array: `array` reads it back. Raises ValueError for an empty one."""
    if not spec.indices:
        raise ValueError("an array needs at least one index")
    return folded(spec.indices) + (f"%{spec.at_a_time}" if spec.at_a_time else "")


def count_range(most_of_all: int, instead_of_none: str = "") -> Reader[int | dict[str, int]]:
    """A number, or a range as text: "2-8"; a range of one number is that number.

    `instead_of_none`: what is written for none of it.
    """

    def read(value: object) -> int | dict[str, int]:
        if not isinstance(value, str):
            return whole(1, most_of_all)(value)
        match = _COUNT_RANGE.fullmatch(value)
        if match is None:
            raise ValueError(f'expected a number from 1 to {most_of_all}, or a range as in "2-8"')
        least, most = int(match[1]), int(match[2] or match[1])
        if least > most:
            raise ValueError(f'{least} is above {most}: the smaller first, as in "{most}-{least}"')
        if not 1 <= least <= most <= most_of_all:
            raise ValueError(f"expected numbers from 1 to {most_of_all}{instead_of_none}")
        return least if least == most else {"least": least, "most": most}

    return read


def count_range_text(written: int | Mapping[str, int]) -> int | str:
    """The form in a job file, for `count_range`."""
    return written if isinstance(written, int) else f"{written['least']}-{written['most']}"


def priority(value: object) -> int:
    """low, normal, high, critical, or 0 to 100."""
    if isinstance(value, str) and value in PRIORITIES:
        return PRIORITIES[value]
    digits = int(value) if isinstance(value, str) and re.fullmatch(r"\d{1,3}", value) else value
    if not isinstance(digits, int) or isinstance(digits, bool) or not 0 <= digits <= 100:
        near = nearest(value, PRIORITIES) if isinstance(value, str) else ""
        hint = f'; did you mean "{near}"?' if near else ""
        raise ValueError(f"expected {', '.join(PRIORITIES)} or a whole number from 0 to 100{hint}")
    return digits


def absolute_path(value: object) -> str:
    """A path valid on every node."""
    path = text(value)
    if not PurePosixPath(path).is_absolute() or len(path) > MAX_PATH_CHARS or "\n" in path:
        raise ValueError('expected an absolute path, as in "/data/run1"')
    return path


MAX_IMAGE_CHARS = 255
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,5})?/)?"
    r"[a-z0-9]+(?:[._/-]+[a-z0-9]+)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)


def image(value: object) -> str:
    """Name of a container image: never an option of podman, nor another transport."""
    if (
        not isinstance(value, str)
        or len(value) > MAX_IMAGE_CHARS
        or _IMAGE.fullmatch(value) is None
    ):
        raise ValueError(
            'expected the name of an image, as in "registry.example/team/train:v3" or '
            '"localhost/train"'
        )
    return value


_INTERFACE = re.compile(r"[A-Za-z0-9_.@-]{1,15}|label:[^\s=,]{1,63}")


def interface(value: object) -> str:
    """A network interface as Linux names it, or `label:NAME`."""
    if not isinstance(value, str) or not _INTERFACE.fullmatch(value):
        raise ValueError('expected an interface such as "ib0", or "label:fabric"')
    return value


def environment(value: object) -> dict[str, str]:
    """NAME → text. Names that Wattline itself sets are refused."""
    if not isinstance(value, Mapping):
        raise ValueError('expected a table such as { SEED = "1" }')
    if len(value) > MAX_ENV_VARIABLES:
        raise ValueError(f"expected at most {MAX_ENV_VARIABLES} variables")
    checked = {variable(key): _env_value(key, item) for key, item in value.items()}
    if sum(len(key) + len(item) for key, item in checked.items()) > MAX_ENV_CHARS:
        raise ValueError(f"expected at most {MAX_ENV_CHARS} characters in all")
    return checked


def variable(key: object) -> str:
    """The name of a variable that Wattline does not set."""
    if not isinstance(key, str) or _ENV_NAME.fullmatch(key) is None:
        raise ValueError(f'"{key}" is not a name of a variable: letters, digits and _')
    is_ours = key.startswith(_RESERVED_PREFIX) and not key.startswith(_OPEN_PREFIX)
    if is_ours or key in _RESERVED_ENV:
        raise ValueError(f"{key} is set by Wattline itself")
    return key


def _env_value(key: object, item: object) -> str:
    if not isinstance(item, str):
        raise ValueError(f'{key} requires its value in quotes, as in {key} = "1"')
    if "\0" in item:
        raise ValueError(f"{key} must not contain NUL characters")
    return item


def job_numbers(value: object) -> tuple[int, ...]:
    """Job numbers, each once; from flags they may be text: "17,18"."""
    items = value if isinstance(value, list | tuple) else [value]
    parts: list[object] = []
    for item in items:
        parts += item.split(",") if isinstance(item, str) else [item]
    numbers = tuple(map(_job_number, parts))
    if not numbers or len(numbers) > MAX_PARENTS:
        raise ValueError(f"expected 1 to {MAX_PARENTS} job numbers, as in [17, 18]")
    if len(set(numbers)) < len(numbers):
        raise ValueError("expected each job number once")
    return numbers


def _job_number(item: object) -> int:
    number = int(item) if isinstance(item, str) and _DIGITS.fullmatch(item) else item
    if not isinstance(number, int) or isinstance(number, bool) or number <= 0:
        raise ValueError("expected job numbers, as in [17, 18]")
    return number


def windows(value: object) -> tuple[str, ...]:
    """Weekly windows."""
    items = texts(MAX_WINDOWS)(value)
    for item in items:
        parse_window(item)
    return items


def moment(value: object) -> str:
    """A point in time, in ISO 8601; without an offset it is local time of the site."""
    try:
        if isinstance(value, datetime.datetime):
            at = value
        else:
            at = datetime.datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError('expected a time such as "2026-12-01T08:00"') from None
    check_year(at)
    return at.isoformat()


duration = quantity(parse_job_duration_s)
energy = quantity(parse_energy_wh)
cost = quantity(parse_cost_usd)

_IDLE = '{ below = 0.05, for = "30m", action = "stop" }'


def idle_rule(value: object) -> dict[str, object]:
    """{ below = 0.05, for = "30m", action = "stop" }; as a flag below=0.05,for=30m,action=stop."""
    table = pairs(value) if isinstance(value, str) else value
    if not isinstance(table, Mapping) or set(table) != {"below", "for", "action"}:
        raise ValueError(f"expected {_IDLE}, as a flag below=0.05,for=30m,action=stop")
    readers: dict[str, tuple[str, Reader[object]]] = {
        "below": ("below", share),
        "for": ("for_s", above_zero(duration)),
        "action": ("action", choice("stop", "warn")),
    }
    rule: dict[str, object] = {}
    for key, (field, reader) in readers.items():
        try:
            rule[field] = reader(table[key])
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from error
    return rule


def pairs(text: str) -> dict[str, object]:
    """A table as a flag's text: NAME=VALUE,NAME=VALUE."""
    found: dict[str, object] = {}
    for part in text.split(","):
        key, _, word = part.partition("=")
        found[key.strip()] = word.strip()
    if re.fullmatch(r"[0-9]*\.?[0-9]+", str(found.get("below"))):
        found["below"] = float(str(found["below"]))
    return found


def idle_table(rule: Mapping[str, Any]) -> dict[str, object]:
    """The form in a job file, for `idle_rule`."""
    wait = format_duration(rule["for_s"])
    return {"below": rule["below"], "for": wait, "action": rule["action"]}


def share(value: object) -> float:
    """A fraction above 0, up to 1."""
    wrong = "expected a number above 0, up to 1"
    try:
        got = number(0, 1)(value)
    except ValueError:
        raise ValueError(wrong) from None
    if got == 0:
        raise ValueError(wrong)
    return got


def gpu_share(value: object) -> int:
    """A fraction of a GPU as thousandths, so that shares add up exactly."""
    exact = share(value) * PERMILLE
    permille = round(exact)
    if abs(exact - permille) > ROUNDING or not permille:
        nearest = max(permille, 1) / PERMILLE
        raise ValueError(f"expected whole thousandths; the nearest is {nearest:g}")
    return permille


def gpu_share_text(permille: int) -> float:
    """The form in a job file, for `gpu_share`."""
    return permille / PERMILLE


def mig_profile(value: object) -> str:
    """A MIG profile, as the driver names it."""
    if not isinstance(value, str) or _MIG.fullmatch(value.lower()) is None:
        raise ValueError('expected a MIG profile such as "3g.40gb"')
    return value.lower()
