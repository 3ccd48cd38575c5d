"""Self-checks of a program, each with its remedy."""

import json
from collections.abc import Sequence
from typing import Literal

import msgspec

Verdict = Literal["ok", "warning", "failed"]


class Check(msgspec.Struct, frozen=True):
    """One line of the table."""

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""
    """Empty when nothing needs doing."""


def has_failed(checks: Sequence[Check]) -> bool:
    """Whether the program could not work here."""
    return any(check.verdict == "failed" for check in checks)


def check_text(checks: Sequence[Check]) -> str:
    """A table for display."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.verdict:8}{check.name:{width}}  {check.found}")
        if check.remedy:
            lines.append(f"{'':{width + 10}}→ {check.remedy}")
    return "\n".join(lines)


def print_checks(checks: Sequence[Check], *, is_json: bool) -> int:
    """Print the table. Returns 0 unless a check failed."""
    print(json.dumps(msgspec.to_builtins(checks), indent=2) if is_json else check_text(checks))
    return 1 if has_failed(checks) else 0
