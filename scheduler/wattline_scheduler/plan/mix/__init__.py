"""Expected task mix, and the fragmentation that a placement would cause."""
