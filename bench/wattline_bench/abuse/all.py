"""Every attack, in the order of the table."""

from wattline_bench.abuse.array_acts import OF_ARRAYS
from wattline_bench.abuse.attack import Attack
from wattline_bench.abuse.data_sets import DATA
from wattline_bench.abuse.fields import FIELDS
from wattline_bench.abuse.floods import FLOODS
from wattline_bench.abuse.http import HTTP
from wattline_bench.abuse.logs import OF_LOGS
from wattline_bench.abuse.terminals import OF_TERMINALS
from wattline_bench.abuse.watches import WATCHED

ATTACKS: tuple[Attack, ...] = (
    *OF_TERMINALS,  # first: others leave jobs on all GPUs
    *OF_LOGS,
    *FIELDS,
    *FLOODS,
    *OF_ARRAYS,
    *WATCHED,
    *DATA,
    *HTTP,
)
