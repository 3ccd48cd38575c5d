"""Every verb, in the order the help shows them."""

from wattline.verbs import (
    api_keys,
    bench,
    data_checks,
    data_sets,
    jobs,
    nodes,
    power,
    programs,
    replay,
    runs,
    secrets,
    services,
    simulation,
    watch,
)
from wattline.verbs.verb import Verb

CATALOGUE: tuple[Verb, ...] = (
    *programs.VERBS,
    *simulation.VERBS,
    *replay.VERBS,
    *jobs.VERBS,
    *runs.VERBS,
    *data_sets.VERBS,
    *data_checks.VERBS,
    *secrets.VERBS,
    *services.VERBS,
    *api_keys.VERBS,
    *nodes.VERBS,
    *power.VERBS,
    *watch.VERBS,
    *bench.VERBS,
)
