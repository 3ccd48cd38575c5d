"""Secrets of a job: names of entries on the nodes, never values; and [env] that should be some."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from wattline_protocol.job.spec import JobSpec
from wattline_protocol.job.values import variable
from wattline_protocol.text.names import check_name
from wattline_protocol.text.toml_fields import Unshown

MAX_SECRETS = 64
"""Of one job."""

_FORM = 'expected the name of an entry, as in "wandb" or { entry = "wandb", env = true }'
_OF_HOST = frozenset(
    {
        *("HOME", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "PYTHONPATH", "SHELL", "USER"),
        "XDG_RUNTIME_DIR",
    }
)
"""Variables that describe the host, its account or its programs."""


def secrets(value: object) -> dict[str, dict[str, object]]:
    """NAME → an entry of the job's owner on the nodes; `env`: also as the variable NAME."""
    try:
        return _uses(value)
    except ValueError as error:
        raise Unshown(str(error)) from error


def _uses(value: object) -> dict[str, dict[str, object]]:
    if not isinstance(value, Mapping):
        raise ValueError('expected a table such as { WANDB_API_KEY = "wandb" }')
    if len(value) > MAX_SECRETS:
        raise ValueError(f"expected at most {MAX_SECRETS} secrets")
    return {variable(name): _use(str(name), item) for name, item in value.items()}


def _use(name: str, item: object) -> dict[str, object]:
    table = {"entry": item} if isinstance(item, str) else item
    if not isinstance(table, Mapping) or not set(table) <= {"entry", "env"}:
        raise ValueError(f"{name}: {_FORM}")
    entry, env = table.get("entry"), table.get("env", False)
    if not isinstance(entry, str) or not isinstance(env, bool):
        raise ValueError(f"{name}: {_FORM}")
    try:
        check_name(entry)
    except ValueError:  # it may be the value itself: it is not repeated
        raise ValueError(
            f'{name}: not the name of an entry (1 to 64 letters, digits, ".", "_" or "-"); '
            "a value goes to the nodes by `wattline secret put`, never into a job"
        ) from None
    if env and name in _OF_HOST:
        raise ValueError(f"{name} describes the host: as a secret it can be a file, no variable")
    return {"entry": entry, "env": env}


def secrets_table(uses: Mapping[str, Mapping[str, Any]]) -> dict[str, object]:
    """The form in a job file, for `secrets`."""
    return {
        name: {"entry": use["entry"], "env": True} if use["env"] else use["entry"]
        for name, use in uses.items()
    }


def secret_problems(job: JobSpec) -> list[tuple[str, bool, str]]:
    """Secrets that are valid by themselves, but not in this job."""
    return [
        (f"secrets.{name}", use.env and name in job.env, f"{name} is in [env] as well: omit one")
        for name, use in job.secrets.items()
    ]


# --- Values of [env] that look like secrets -------------------------------------------------

_SHAPES = re.compile(
    r"hf_[A-Za-z0-9]{30,}"
    r"|sk-[A-Za-z0-9_-]{20,}"
    r"|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}"
    r"|glpat-[A-Za-z0-9_-]{20,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}"
    r"|AIza[A-Za-z0-9_-]{35}"
    r"|xox[abeprs]-[A-Za-z0-9-]{10,}"
    r"|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{30,}"
    r"|wl_[A-Za-z0-9_-]{40,}"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"
    r"|[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@"
)
"""Tokens of usual services, API keys of Wattline, and URLs with a password."""

_PRIVATE_KEY = ("-----BEGIN PRIVATE", "-----BEGIN RSA", "-----BEGIN EC", "-----BEGIN OPENSSH")

_NAMED = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|KEY", re.IGNORECASE)
_OPAQUE = re.compile(r"(?=[^/.~])(?=.*[0-9])(?=.*[A-Za-z])[!-~]{16,}")
"""Letters and digits without spaces, and no path."""
LEAST_ENTROPY_BITS = 3.0
"""Per character; of words of a language it is lower, or there is no digit among them."""


def exposed(env: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the variables whose values look like secrets."""
    return tuple(name for name, value in env.items() if _is_secret(name, value))


def _is_secret(name: str, value: str) -> bool:
    if "\n" in value.strip():  # a text, such as a script
        return value.lstrip().startswith(_PRIVATE_KEY)
    if _SHAPES.search(value):
        return True
    is_opaque = bool(_NAMED.search(name) and _OPAQUE.fullmatch(value)) and "://" not in value
    return is_opaque and _entropy_bits(value) >= LEAST_ENTROPY_BITS


def _entropy_bits(text: str) -> float:
    """Per character, by the frequencies in the text."""
    shares = [count / len(text) for count in Counter(text).values()]
    return -sum(share * math.log2(share) for share in shares)


def exposed_hint(env: Mapping[str, str]) -> str:
    """Advice for those, without their values; empty = there are none."""
    names = exposed(env)
    if not names:
        return ""
    first = names[0]
    entry = re.sub(r"[^a-z0-9]+", "-", first.lower()).strip("-") or "key"
    others = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return (
        f"hint: the value of [env] {first}{others} looks like a secret, and is on record in clear; "
        f"store it with `wattline secret put {entry}`, and write "
        f'[secrets] {first} = {{ entry = "{entry}", env = true }}'
    )
