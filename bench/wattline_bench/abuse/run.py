"""What other members notice while one attacks, with the key of a submitter, an agent, an operator.

A real scheduler with 10,000 jobs on record, a real agent on simulated hardware, played agents, and
for attacks by HTTP a real gateway. An honest member submits small jobs all the time, from
127.0.0.1; the attacker, a process of its own, connects from 127.0.0.2. One row an attack, after
one without any. Everything shares this machine: on two cores the attacker's own work is part of
what others notice.
"""

from collections import deque
from collections.abc import Iterator, Sequence

from wattline.failures import ActFailed
from wattline_bench.abuse.all import ATTACKS
from wattline_bench.abuse.attack import Attack
from wattline_bench.abuse.ground import ground
from wattline_bench.abuse.raised import measure_raised_caps
from wattline_bench.abuse.row import Row
from wattline_bench.verdict import Figures, judged


@judged
def measure(
    *, only: Sequence[str], seconds: float, nodes: int, jobs: int, task_raises_caps: bool = False
) -> Figures | tuple[Figures, ...]:
    """The attacks named, or all, for so long each; or the one by a task that runs as root."""
    if task_raises_caps:
        return measure_raised_caps()
    return tuple(_rows(_chosen(only), seconds, nodes, jobs))


def _chosen(only: Sequence[str]) -> list[Attack]:
    known = {attack.name: attack for attack in ATTACKS}
    strange = [name for name in only if name not in known]
    if strange:
        raise ActFailed(f"no attack {', '.join(strange)}; there are {', '.join(known)}")
    return [known[name] for name in only] if only else list(ATTACKS)


def _rows(attacks: list[Attack], seconds: float, nodes: int, jobs: int) -> Iterator[Row]:
    """One calm row, then one each; a site of which something ended is replaced by a new one."""
    left = deque(attacks)
    calm: Row | None = None
    with_gateway = any(attack.needs_gateway for attack in attacks)
    while left:
        with ground(nodes, jobs, with_gateway=with_gateway) as site:
            if calm is None:
                calm = site.attacked(None, seconds, None)
                yield calm
            while left:
                row = site.attacked(left.popleft(), seconds, calm)
                yield row
                if row.ended:
                    break
