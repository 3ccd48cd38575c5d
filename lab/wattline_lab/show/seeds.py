"""Output of the fleet simulation."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from wattline_lab.acts.seeds import Proof, Replay
from wattline_sim.fleet.campaign import Tally
from wattline_sim.fleet.run import Violation

FAULTS_IN_ROW = 4


def seeds_result(value: Tally | Replay) -> RenderableType:
    """A tally, or one seed's events."""
    lines = _tally(value) if isinstance(value, Tally) else _replay(value)
    return Group(*lines)


def _tally(tally: Tally) -> Iterator[RenderableType]:
    for violation in tally.violations:
        yield _violation(violation)
    last = tally.start + tally.seeds - 1
    yield f"seeds        {tally.start} to {last}: {tally.seeds} sites, {tally.steps} steps"
    yield f"time         {tally.virtual_s / 3600:.1f} h simulated in {tally.seconds:.0f} s"
    yield f"speed        {tally.seeds_per_s:.1f} seeds a second"
    yield f"jobs         {tally.jobs} accepted, {tally.attempts} attempts, {tally.stuck_jobs} stuck"
    yield f"messages     {tally.messages} sent, {tally.lost} lost"
    yield f"truth        compared with the books {tally.checks} times"
    yield from _faults(tally.faults)
    verdict = f"violations   {len(tally.violations)}"
    yield Text(verdict, style="bold red" if tally.violations else "bold green")


def _faults(faults: dict[str, int]) -> Iterator[RenderableType]:
    counts = [f"{kind} {count}" for kind, count in sorted(faults.items(), key=lambda f: -f[1])]
    for at in range(0, len(counts), FAULTS_IN_ROW):
        word = "faults" if at == 0 else ""
        yield f"{word:12} {', '.join(counts[at : at + FAULTS_IN_ROW])}"


def _violation(violation: Violation) -> RenderableType:
    v = violation
    head = Text(f"seed {v.seed} at {v.at_s:.3f} s: {v.rule}", style="bold red")
    faults = [f"  {m.at_s:8.1f} {m.text}" for m in v.faults]
    return Group(head, Text(v.text), "faults until then:", *faults, f"replay: {v.replay}", "")


def mutants_result(proof: Proof) -> RenderableType:
    """One row a mutant."""
    table = Table(box=None, pad_edge=False, show_edge=False)
    for column in ("MUTANT", "RULE REMOVED", "SEEDS", "CAUGHT BY", "COVERED ALONE BY"):
        table.add_column(column, justify="right" if column == "SEEDS" else "left")
    for v in proof.verdicts:
        caught = Text(v.caught_by or "survived", style="" if v.is_caught else "bold red")
        rule = f"{v.source}: {v.rule}"
        table.add_row(v.mutant, rule, str(v.seeds), caught, v.covered_by)
    verdict = f"{proof.caught} of {proof.mutants} mutants caught in {proof.seconds:.0f} s"
    style = "bold green" if proof.caught == proof.mutants else "bold red"
    return Group(table, Text(verdict, style=style))


def _replay(replay: Replay) -> Iterator[RenderableType]:
    outcome = replay.outcome
    for moment in replay.story:
        style = "yellow" if moment.source == "fault" else ""
        yield Text(f"{moment.at_s:9.3f} {moment.source}  {moment.text}", style=style)
    if outcome.violation is not None:
        yield _violation(outcome.violation)
        return
    faults = sum(outcome.faults.values())
    yield (
        f"seed {outcome.seed}: {outcome.virtual_s:.1f} s, {outcome.jobs} jobs, "
        f"{outcome.attempts} attempts, {faults} faults, {outcome.messages} messages "
        f"({outcome.lost} lost), {outcome.checks} checks: every rule held"
    )
