"""Generates `docs/problems.md` from the table of kinds: `python -m wattline.problempage FILE`."""

import sys
from pathlib import Path

from wattline_protocol.wire.problem_kinds import AGENT_KINDS, KINDS

_HEAD = """# Problems: what each kind means, and what to do

Generated from the table of kinds (`protocol/wattline_protocol/wire/problem_kinds.py`) by
`make docs`; do not edit.

A problem is a condition that lasts. It begins once and ends once, each with one event: the kind is
the kind of the event at its beginning. `wattline problems` lists the open ones, worst first, and
with `--all` the ended ones too. Key `!` in the terminal lists what the badge of alarms counts.
`wattline node NODE` shows those of a node. One that comes back within a minute of its end is the
same problem, and TIMES counts how often it began.

| kind | level | what is wrong | meanwhile | what to do | event at its end |
|---|---|---|---|---|---|
"""

_FOOT = """
Kinds that agents report: {agents}. An agent of an older version reports sentences: these are of
kind `node_problem`.
"""


def page() -> str:
    """The whole page."""
    rows = [
        f"| `{kind.name}` | {kind.severity} | {kind.title} | {kind.meaning} | {kind.remedy} "
        f"| `{kind.end_event}` |"
        for kind in KINDS.values()
    ]
    agents = ", ".join(f"`{name}`" for name in KINDS if name in AGENT_KINDS)
    return _HEAD + "\n".join(rows) + "\n" + _FOOT.format(agents=agents)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
