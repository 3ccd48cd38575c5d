"""Expected task mix and the fragmentation a placement would cause."""
