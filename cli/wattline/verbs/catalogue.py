"""Every verb, in the order the help shows them."""

from wattline.verbs import bench, jobs, nodes, power, programs, watch
from wattline.verbs.verb import Verb

CATALOGUE: tuple[Verb, ...] = (
    *programs.VERBS,
    *jobs.VERBS,
    *nodes.VERBS,
    *power.VERBS,
    *watch.VERBS,
    *bench.VERBS,
)
