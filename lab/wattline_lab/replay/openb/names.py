"""Names of policies, light enough for the table of verbs."""

import re

POLICY_NAMES = ("random", "dotprod", "clustering", "packing", "bestfit", "fgd", "pwr", "wattline")
"""As in the literature; `wattline` is what the scheduler runs."""

_MIXED = re.compile(r"pwr(\d{1,4})\+fgd(\d{1,4})", re.ASCII)
_PRICED = re.compile(r"wattline\+pwr(\d{1,6})", re.ASCII)


def parse_policy(text: str) -> tuple[str, int, int]:
    """Name and weights of power and fragments, as in `pwr100+fgd900`; `wattline+pwr5000` makes a
    kilowatt as dear as 5 GPUs. Raises ValueError.
    """
    if text in POLICY_NAMES:
        return text, int(text == "pwr"), 0
    priced = _PRICED.fullmatch(text)
    if priced is not None:
        return "wattline", int(priced[1]), 0
    match = _MIXED.fullmatch(text)
    if match is None:
        names, mixes = ", ".join(POLICY_NAMES), "pwr100+fgd900 or wattline+pwr5000"
        raise ValueError(f"{text!r} is no policy; write {names}, or a mix such as {mixes}")
    return "pwr", int(match[1]), int(match[2])


def parse_seeds(text: str) -> tuple[int, ...]:
    """`42-51` or `42,44`. Raises ValueError."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part.strip(), re.ASCII)
        if match is None:
            raise ValueError(f"{text!r} names no seeds; write for example 42, 42-51 or 42,44")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < first + 10_000:
            raise ValueError(f"{part.strip()}: a range runs upwards, over at most 10,000 seeds")
        seeds.extend(range(first, last + 1))
    return tuple(seeds)
