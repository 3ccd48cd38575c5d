"""Every attack, in the order of the table."""

from wattline_bench.abuse.attack import Attack
from wattline_bench.abuse.fields import FIELDS
from wattline_bench.abuse.floods import FLOODS
from wattline_bench.abuse.http import HTTP

ATTACKS: tuple[Attack, ...] = (
    *FIELDS,
    *FLOODS,
    *HTTP,
)
