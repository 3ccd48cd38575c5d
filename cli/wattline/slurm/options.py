"""The options of sbatch: names, values, and what to use where Wattline has no counterpart."""

from typing import Literal, NamedTuple

Takes = Literal["value", "none", "either"]
"""either: a value only behind `=`."""


class SbatchOption(NamedTuple):
    """One option, as its manual of Slurm 24.11 lists it, or of pyxis, its plugin for containers."""

    takes: Takes
    short: str = ""
    instead: str = ""
    """What to use; empty: `job_table` reads it."""


_ONE_TASK = "each node runs the script once: start processes in it, as with torchrun"
_PLACED = "omit it: GPUs are exclusive, and the planner chooses cores and memory"
_NODES = "nodes are selected by labels: wattline submit --label NAME=VALUE"
_OMIT = "omit it: Wattline has no counterpart"

OPTIONS: dict[str, SbatchOption] = {
    "account": SbatchOption("value", "A"),
    "acctg-freq": SbatchOption("value", "", "omit it: agents report use once a second"),
    "array": SbatchOption("value", "a"),
    "batch": SbatchOption("value", "", _NODES),
    "bb": SbatchOption("value", "", _OMIT),
    "bbf": SbatchOption("value", "", _OMIT),
    "begin": SbatchOption("value", "b", "wattline submit --hold, and release it from at or cron"),
    "chdir": SbatchOption("value", "D"),
    "cluster-constraint": SbatchOption("value", "", "choose the site with --bundle"),
    "clusters": SbatchOption("value", "M", "choose the site with --bundle"),
    "comment": SbatchOption("value", "", "use --job-name, or wattline submit --env"),
    "consolidate-segments": SbatchOption("none", "", _OMIT),
    "constraint": SbatchOption("value", "C", f"{_NODES}, --gpu-type h100"),
    "container": SbatchOption("value", "", "wattline submit --image NAME"),
    "container-image": SbatchOption("value"),
    "container-mounts": SbatchOption(
        "value", "", "omit it: [containers] of the site file has the mounts"
    ),
    "container-id": SbatchOption("value", "", "wattline submit --image NAME"),
    "contiguous": SbatchOption("none"),
    "core-spec": SbatchOption("value", "S", _PLACED),
    "cores-per-socket": SbatchOption("value", "", _PLACED),
    "cpu-freq": SbatchOption("value", "", _OMIT),
    "cpus-per-gpu": SbatchOption("value"),
    "cpus-per-task": SbatchOption("value", "c"),
    "deadline": SbatchOption("value"),
    "delay-boot": SbatchOption("value", "", _OMIT),
    "dependency": SbatchOption("value", "d"),
    "distribution": SbatchOption("value", "m", _PLACED),
    "error": SbatchOption("value", "e"),
    "exclude": SbatchOption("value", "x", f"{_NODES}; an operator drains or reserves them"),
    "exclusive": SbatchOption("either", "", "request all GPUs of a node"),
    "export": SbatchOption("value"),
    "export-file": SbatchOption("value", "", "wattline submit --env NAME=VALUE"),
    "extra": SbatchOption("value", "", _OMIT),
    "extra-node-info": SbatchOption("value", "B", _PLACED),
    "get-user-env": SbatchOption("either", "", "start a login shell: #!/bin/bash -l"),
    "gid": SbatchOption("value", "", "[run_as] of the site file maps users to accounts"),
    "gpu-bind": SbatchOption("value", "", _PLACED),
    "gpu-freq": SbatchOption("value", "", "wattline submit --min-performance bounds the slowdown"),
    "gpus": SbatchOption("value", "G"),
    "gpus-per-node": SbatchOption("value"),
    "gpus-per-socket": SbatchOption("value", "", "use --gpus-per-node"),
    "gpus-per-task": SbatchOption("value"),
    "gres": SbatchOption("value"),
    "gres-flags": SbatchOption("value", "", _PLACED),
    "help": SbatchOption("none", "h", "wattline help submit"),
    "hint": SbatchOption("value", "", _PLACED),
    "hold": SbatchOption("none", "H"),
    "ignore-pbs": SbatchOption("none"),
    "input": SbatchOption("value", "i", "redirect standard input in the script"),
    "job-name": SbatchOption("value", "J"),
    "kill-on-invalid-dep": SbatchOption("value"),
    "licenses": SbatchOption("value", "L", "an array with %N, or a queue with a quota, limits it"),
    "mail-type": SbatchOption("value"),
    "mail-user": SbatchOption("value"),
    "mcs-label": SbatchOption("value", "", "omit it: logs and variables are private to the owner"),
    "mem": SbatchOption("value"),
    "mem-bind": SbatchOption("value", "", _PLACED),
    "mem-per-cpu": SbatchOption("value"),
    "mem-per-gpu": SbatchOption("value"),
    "mincpus": SbatchOption("value", "", "use --cpus-per-gpu"),
    "network": SbatchOption("value", "", _OMIT),
    "nice": SbatchOption("either", "", "wattline submit --priority low"),
    "no-kill": SbatchOption("either", "k", "omit it: a gang that loses a node is requeued"),
    "no-requeue": SbatchOption(
        "none", "", "omit it: after failures nothing is retried; lost nodes and preemption requeue"
    ),
    "nodefile": SbatchOption("value", "F", _NODES),
    "nodelist": SbatchOption("value", "w", _NODES),
    "nodes": SbatchOption("value", "N"),
    "ntasks": SbatchOption("value", "n"),
    "ntasks-per-core": SbatchOption("value", "", _ONE_TASK),
    "ntasks-per-gpu": SbatchOption("value", "", _ONE_TASK),
    "ntasks-per-node": SbatchOption("value"),
    "ntasks-per-socket": SbatchOption("value", "", _ONE_TASK),
    "oom-kill-step": SbatchOption("either", "", "omit it: --mem limits the task"),
    "open-mode": SbatchOption("value"),
    "output": SbatchOption("value", "o"),
    "overcommit": SbatchOption("none", "O", _PLACED),
    "oversubscribe": SbatchOption("none", "s", "wattline submit --gpu-share 0.5"),
    "parsable": SbatchOption("none", "", "wattline submit --quiet prints the number alone"),
    "partition": SbatchOption("value", "p"),
    "prefer": SbatchOption("value", "", _NODES),
    "priority": SbatchOption("value"),
    "profile": SbatchOption("value", "", "omit it: wattline job shows utilisation and energy"),
    "propagate": SbatchOption("either", "", "set limits in the script"),
    "qos": SbatchOption("value", "q", "use --priority, or a queue: --partition"),
    "quiet": SbatchOption("none", "Q", "wattline submit --quiet"),
    "reboot": SbatchOption("none", "", _OMIT),
    "requeue": SbatchOption("none"),
    "reservation": SbatchOption("value"),
    "resv-ports": SbatchOption("either", "", _OMIT),
    "segment": SbatchOption("value", "", _OMIT),
    "signal": SbatchOption(
        "value", "", "wattline submit --stop-signal USR1 --grace 2m: the time from it to SIGKILL"
    ),
    "sockets-per-node": SbatchOption("value", "", _PLACED),
    "spread-job": SbatchOption("none", "", _PLACED),
    "stepmgr": SbatchOption("none", "", _OMIT),
    "switches": SbatchOption("value", "", "use --contiguous: all nodes in one rack"),
    "test-only": SbatchOption("none", "", "wattline whatif"),
    "thread-spec": SbatchOption("value", "", _PLACED),
    "threads-per-core": SbatchOption("value", "", _PLACED),
    "time": SbatchOption("value", "t"),
    "time-min": SbatchOption("value", "", "wattline explain names what lets the job start earlier"),
    "tmp": SbatchOption("value", "", "omit it: scratch files belong in SLURM_TMPDIR"),
    "tres-bind": SbatchOption("value", "", _PLACED),
    "tres-per-task": SbatchOption("value", "", "use --gpus-per-node, --cpus-per-task and --mem"),
    "uid": SbatchOption("value", "", "[run_as] of the site file maps users to accounts"),
    "usage": SbatchOption("none", "", "wattline help submit"),
    "use-min-nodes": SbatchOption("none", "", "use --nodes with a number"),
    "verbose": SbatchOption("none", "v", _OMIT),
    "version": SbatchOption("none", "V", "wattline --version"),
    "wait": SbatchOption("none", "W", "wattline submit --wait"),
    "wait-all-nodes": SbatchOption("value"),
    "wckey": SbatchOption("value", "", "use --account"),
    "wrap": SbatchOption("value", "", "wattline submit -- sh -c 'line'"),
}

LONG_OF = {option.short: name for name, option in OPTIONS.items() if option.short}

COMMANDS = {
    "srun": "there are no job steps: omit srun, each node runs the script; or use torchrun",
    "sbcast": "use a shared file system",
    "sgather": "use a shared file system",
    "salloc": "there are no allocations: use wattline submit",
    "sbatch": "use wattline submit",
    "scancel": "use wattline cancel",
    "squeue": "use wattline jobs",
    "sacct": "use wattline job",
    "sinfo": "use wattline nodes",
    "scontrol": "use wattline job, requeue, hold or update; torchrun finds the nodes by itself",
}
"""Commands of Slurm, which nodes need not have, and what replaces them in a script."""
