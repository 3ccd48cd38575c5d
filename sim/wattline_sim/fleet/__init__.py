"""Deterministic simulation of a whole site: the production cores over virtual time.

Theory. `Cluster` (scheduler) and `Node` (agent) are the production state machines; messages pass
through the production codec. Only what they cannot see is modelled: time, a network that loses,
repeats, delays and partitions, disks that survive crashes, drivers and processes. Everything random
comes from one seed, so a failing run is replayed by its number. After every step the invariants are
checked twice: as the scheduler believes (`check_invariants`) and as they are (`truth`): what each
driver would really allow, what the GPUs really draw, which processes really run.
"""
