"""The order in which pods come: shuffled, and filled up or thinned to a load."""

import random
from collections.abc import Sequence

from wattline_lab.replay.openb.lists import Pod

LOAD = 1.3
"""GPUs asked for in all, as a multiple of those there are."""


def arrivals(
    pods: Sequence[Pod], capacity_milli: int, dice: random.Random, load: float = LOAD
) -> list[int]:
    """Positions in `pods`, in the order of arrival.

    As published: shuffled; where they ask for less than the load, pods drawn with replacement
    are appended until the next one would pass it (that look counts a single GPU of the pod);
    where they ask for more, random ones are taken out.
    """
    order = list(range(len(pods)))
    dice.shuffle(order)
    limit_milli = load * capacity_milli
    asked_milli = sum(pod.size_milli for pod in pods)
    while asked_milli > limit_milli:
        asked_milli -= pods[order.pop(dice.randrange(len(order)))].size_milli
    if not any(pod.size_milli for pod in pods):
        return order
    while True:
        drawn = dice.randrange(len(pods))
        if asked_milli + pods[drawn].gpu_milli > limit_milli:
            return order
        asked_milli += pods[drawn].size_milli
        order.append(drawn)
