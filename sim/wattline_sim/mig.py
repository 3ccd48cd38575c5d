"""MIG profiles of simulated GPUs: names, memory and slices, as a driver tells them.

A GPU has seven compute slices and eight of memory. Names round the memory to whole GB, so one of
80 GB has 1g.10gb, 1g.20gb, 2g.20gb, 3g.40gb, 4g.40gb and 7g.80gb.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from wattline_sim import state
from wattline_sim.profiles import GIBIBYTE, MEBIBYTE, GpuModel, UnknownNameError

COMPUTE_SLICES, MEMORY_SLICES = state.MIG_MAX, 8
_SHAPES = ((1, 1), (1, 2), (2, 2), (3, 4), (4, 4), (7, 8))
"""Compute and memory slices of what can be made."""
_ID_SPACE = uuid.UUID("0d8a6a53-91a5-4c55-8f0c-3a3c64c1a0b7")


class MigError(ValueError):
    """These instances cannot be made; the message says what can."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of instance."""

    name: str
    slices: int
    memory_slices: int
    memory_bytes: int


def profiles(model: GpuModel) -> dict[str, Profile]:
    """By name, those that the model can be divided into; empty where it has no MIG."""
    if not model.has_mig:
        return {}
    whole_gb = -(-model.memory_bytes // GIBIBYTE)
    made = {}
    for slices, parts in _SHAPES:
        name = f"{slices}g.{(whole_gb * parts + MEMORY_SLICES // 2) // MEMORY_SLICES}gb"
        size = model.memory_bytes * parts // MEMORY_SLICES // MEBIBYTE * MEBIBYTE
        made[name] = Profile(name, slices, parts, size)
    return made


def partition(gpu: state.Gpu, model: GpuModel, names: Sequence[str] | None) -> None:
    """Turn MIG mode on with these instances (maybe none), or off with None, as an operator does.

    Raises MigError or UnknownNameError.
    """
    chosen = [_profile(model, name) for name in names or ()]
    if names is not None and not model.has_mig:
        raise MigError(f"{model.display_name} has no MIG")
    if sum(one.slices for one in chosen) > COMPUTE_SLICES:
        raise MigError(f"{', '.join(names or ())}: more than {COMPUTE_SLICES} compute slices")
    if sum(one.memory_slices for one in chosen) > MEMORY_SLICES:
        raise MigError(f"{', '.join(names or ())}: more than {MEMORY_SLICES} memory slices")
    gpu.mig.count = 0
    for number, profile in enumerate(chosen):
        instance = gpu.mig.instances[number]
        key = f"{gpu.identity.uuid.decode()}/{number}/{profile.name}"
        instance.uuid = f"MIG-{uuid.uuid5(_ID_SPACE, key)}".encode()
        instance.profile, instance.slices = profile.name.encode(), profile.slices
        instance.memory_bytes, instance.gpu_instance = profile.memory_bytes, number + 1
    gpu.mig.enabled = int(names is not None)
    gpu.mig.count = len(chosen)


def _profile(model: GpuModel, name: str) -> Profile:
    known = profiles(model)
    if name not in known:
        there = ", ".join(known) or "none"
        raise UnknownNameError(f"{model.display_name} has no MIG profile {name}; it has {there}")
    return known[name]
