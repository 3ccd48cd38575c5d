"""From GPU watts to wall watts and back, in exact integers.

Agent (I2) and scheduler (I1) must agree to the milliwatt on the wall draw of a set of caps, so both
call these functions. Power is in milliwatts (`_mw`), ratios in permille; every rounding is to the
safe side.
"""

PERMILLE = 1000


def ceil_div(numerator: int, denominator: int) -> int:
    """Integer quotient rounded up; `denominator` > 0."""
    return -(-numerator // denominator)


def gpu_bound_mw(cap_mw: int, overshoot_permille: int) -> int:
    """Most a GPU under `cap_mw` draws as a 1 s average."""
    return ceil_div(cap_mw * overshoot_permille, PERMILLE)


def cap_within_mw(bound_mw: int, overshoot_permille: int) -> int:
    """Largest cap whose bound is at most `bound_mw`: the inverse of `gpu_bound_mw`."""
    return bound_mw * PERMILLE // overshoot_permille


def wall_mw(load_mw: int, psu_efficiency_permille: int) -> int:
    """Wall power of a node whose parts draw `load_mw` behind its power supplies."""
    return ceil_div(load_mw * PERMILLE, psu_efficiency_permille)


def load_within_mw(lease_mw: int, psu_efficiency_permille: int) -> int:
    """Most the parts may draw so that the wall stays within `lease_mw`."""
    return lease_mw * psu_efficiency_permille // PERMILLE
