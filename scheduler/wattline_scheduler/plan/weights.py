"""What each term of the cost of a place counts for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Weights:
    """See docs/scheduling.md."""

    fragments: float = 1.0
    """Each GPU that the mix of tasks cannot use any more, where a mix is known."""
    fit: float = 1.0
    """Each GPU left over on the node, where no mix is known."""
    part: float = 0.1
    """For a share of a GPU: each thousandth that it leaves free of it, as GPUs left over."""
    warmth: float = 0.05
    """Each step by which its free GPUs would be too warm at full power."""
    stranding: float = 0.04
    """The whole budget of the tightest row above being used up."""
    watts: float = 0.0
    """Each kilowatt that the node must keep more; it draws work to GPUs of few watts."""
    cpus: float = 1e-6
    """Each CPU that is taken already."""
    locality: float = 0.5
    """For a gang: a rack that cannot take what is left of it, and one that has none of it yet."""
    spread: float = 8.0
    """For a service: each other replica in the rack, and each on the node. More than packing can
    gain on a node of eight: replicas are apart wherever they can be."""


DEFAULT_WEIGHTS = Weights()
