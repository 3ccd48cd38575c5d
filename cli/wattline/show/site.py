"""Output of the verbs that set up, check and simulate."""

from pathlib import Path

from wattline.acts.sim_node import SimNode
from wattline.acts.site import Enrolled, MadeSite


def made(site: MadeSite) -> str:
    """The next steps."""
    first = site.nodes[0] if site.nodes else "NODE"
    runs_as = [f"Tasks of {site.admin} run as {site.admin_runs_as}."] if site.admin_runs_as else []
    return "\n".join(
        [
            f"Created the site {site.site} in {site.directory}/.",
            *runs_as,
            *site.run_as_notes,
            f"1. Edit {site.site_file}: power tree, nodes, tariff.",
            f"2. export WATTLINE_BUNDLE={Path(site.admin_bundle).absolute()}",
            f"3. wattline enroll {first} --role agent --site {site.directory}",
            f"4. wattline scheduler --site {site.directory}",
        ]
    )


def enrolled(member: Enrolled) -> str:
    """Path of the bundle."""
    return f"Enrolled {member.name} as {member.role}; its bundle is {member.bundle} (secret)."


def sim_node(node: SimNode) -> str:
    """How to query it and how to load it."""
    where = f"LD_LIBRARY_PATH={node.directory}"
    busy = "python3 -c 'while True: pass'"
    return "\n".join(
        [
            f"Simulated node {node.name}: {node.gpus} × {node.model}.",
            "Read it from another terminal:",
            f"  {where} nvitop",
            f"  {where} gpustat",
            "Run an agent for it:",
            f"  {where} wattline agent --sysfs-root {node.sysfs_root} --bundle … --state-dir …",
            "Load GPU 0 with any busy program:",
            f"  {where} CUDA_VISIBLE_DEVICES=0 WATTLINE_SIM_PROFILE=training-hot {busy}",
            "Stop with Ctrl-C.",
        ]
    )
