"""Commands of Slurm, and the verb that is typed instead, as in docs/from-slurm.md."""

OF_SLURM = {
    "sacct": "jobs --all",
    "sacctmgr": "accounts",
    "salloc": "run --pty",
    "sattach": "attach",
    "sbatch": "submit",
    "scancel": "cancel",
    "sinfo": "nodes",
    "sprio": "explain",
    "squeue": "jobs",
    "sreport": "report",
    "srun": "run",
    "sshare": "accounts",
    "sstat": "job",
    "sview": "top",
}
