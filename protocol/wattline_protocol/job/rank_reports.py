"""What an attempt's ranks leave behind, as part of its exit (torchrun only)."""

import msgspec

from wattline_protocol.wire.bounds import Count, Sentence


class RankPlace(msgspec.Struct, frozen=True):
    """Where a rank that made no progress was: the innermost frame of its main thread."""

    rank: Count[int]
    place: Sentence
