"""Kinds of jobs: what is learned from one job applies to later ones of its kind."""

from hashlib import blake2b

import msgspec

from wattline_protocol.ids import UserName
from wattline_protocol.job.spec import WHOLE_GPU, JobSpec

DIGEST_BYTES = 16


def kind_of(owner: UserName, spec: JobSpec) -> str:
    """Key of a kind, with similar draw and runtime: user, command, launcher and shape."""
    asked = spec.resources
    is_part = asked.gpu_share_permille < WHOLE_GPU or asked.mig
    part = (asked.mig or asked.gpu_share_permille,) if is_part else ()
    shape = (asked.nodes, asked.gpus_per_node, spec.launch.procs_per_node, *part)
    what = (owner, spec.kind, spec.command, spec.launch.how, *shape)
    return blake2b(msgspec.msgpack.encode(what), digest_size=DIGEST_BYTES).hexdigest()
