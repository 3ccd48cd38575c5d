"""Rules between the keys of [launch] and others of a job file."""

from wattline_protocol.job.ranks import procs_per_node
from wattline_protocol.job.spec import RENDEZVOUS_LAUNCHERS, JobSpec


def launch_problems(job: JobSpec) -> list[tuple[str, bool, str]]:
    """(key, whether it is wrong, what would be right)."""
    how, procs = job.launch.how, job.launch.procs_per_node
    is_torchrun, is_container = how == "torchrun", how == "container"
    is_bridged = job.service is not None and job.service.http is not None
    return [
        (
            "launch.how",
            is_container and not job.launch.image,
            "a container needs an image: set launch.image as well",
        ),
        (
            "launch.image",
            job.launch.image != "" and not is_container,
            'image is for how = "container"',
        ),
        (
            "launch.how",
            is_container and is_bridged,
            'the bridge to an HTTP server is no part of the image; use how = "process"',
        ),
        (
            "launch.how",
            how in RENDEZVOUS_LAUNCHERS and job.kind == "service",
            'a service\'s worker is one process; use how = "process"',
        ),
        (
            "launch.how",
            is_torchrun and procs == 0 and job.resources.gpus_per_node == 0,
            "torchrun starts one process per GPU and there is none; set procs_per_node",
        ),
        (
            "launch.procs_per_node",
            procs > 0 and not is_torchrun,
            'procs_per_node is for how = "torchrun"',
        ),
        (
            "launch.global_batch_size",
            bool(uneven := _uneven(job)),
            f"{job.launch.global_batch_size} samples do not divide among {uneven} processes",
        ),
        (
            "launch.interface",
            job.launch.interface != "" and not is_torchrun,
            'interface is for how = "torchrun"',
        ),
        (
            "launch.pty",
            job.launch.pty and (how != "process" or job.gang_size > 1),
            'a terminal is for one process on one node; use how = "process" and nodes = 1',
        ),
        (
            "launch.pty",
            job.launch.pty and (job.array is not None or job.kind == "service"),
            'a terminal is for a job of one task: omit array, and kind = "service"',
        ),
    ]


def _uneven(job: JobSpec) -> int:
    """The least possible number of processes that do not divide the batch; 0 = all do."""
    nodes = range(job.resources.least_nodes, job.resources.most_nodes + 1)
    counts = (count * procs_per_node(job) for count in nodes)
    return next((count for count in counts if job.launch.global_batch_size % count), 0)
