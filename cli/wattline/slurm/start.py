"""How a job script is started on a node: by sh, from variables that only its owner may read."""

import shlex
from collections.abc import Container, Sequence

from wattline.slurm.output_files import OutputFiles
from wattline_protocol.job.spec import JobSpec

SCRIPT = "JOB_SCRIPT"
START = "JOB_START"
_RUN = f'eval "${START}"'

_GPUS_ON_NODE = '$(IFS=,; set -f; set -- $CUDA_VISIBLE_DEVICES; echo "$#")'

_VARIABLES = {
    "SLURM_JOB_ID": '"$WATTLINE_JOB${WATTLINE_ARRAY_INDEX:+.$WATTLINE_ARRAY_INDEX}"',
    "SLURM_JOBID": '"$SLURM_JOB_ID"',
    "SLURM_JOB_NAME": '"$WATTLINE_JOB_NAME"',
    "SLURM_JOB_NUM_NODES": '"$WATTLINE_NODES"',
    "SLURM_NNODES": '"$WATTLINE_NODES"',
    "SLURM_NODEID": '"$WATTLINE_NODE_RANK"',
    "SLURM_PROCID": '"$WATTLINE_NODE_RANK"',
    "SLURM_LOCALID": "0",
    "SLURMD_NODENAME": '"$WATTLINE_NODE"',
    "SLURM_RESTART_COUNT": '"$((WATTLINE_ATTEMPT - 1))"',
    "SLURM_GPUS_ON_NODE": f'"{_GPUS_ON_NODE}"',
    "SLURM_TMPDIR": '"$WATTLINE_TASK_DIR"',
}
_OF_TASKS = {"SLURM_NTASKS": '"$WATTLINE_NODES"', "SLURM_NPROCS": '"$WATTLINE_NODES"'}
_OF_CPUS = {"SLURM_CPUS_PER_TASK": '"${OMP_NUM_THREADS:-1}"'}
"""Set by the agent to the CPUs of the task, where it requests any."""


def command_of(name: str, arguments: Sequence[str]) -> list[str]:
    """Command of the job: equal for each version of a script, so that it is one kind of job."""
    return ["sh", "-c", _RUN, name, *arguments]


def start_text(
    spec: JobSpec, interpreter: Sequence[str], files: OutputFiles, stated: Container[str]
) -> str:
    """Text for sh: sets Slurm's variables, writes the script to a file, and becomes it.

    `stated`: options of sbatch in the script; it sets some variables for these only.
    """
    variables = dict(_VARIABLES)
    if spec.submit_dir:
        variables["SLURM_SUBMIT_DIR"] = shlex.quote(spec.submit_dir)
    if spec.array is not None:
        variables |= _of_array(spec.array.indices)
    if "ntasks" in stated or "ntasks-per-node" in stated:
        variables |= _OF_TASKS
    if "cpus-per-task" in stated and "OMP_NUM_THREADS" not in spec.env:
        variables |= _OF_CPUS
    notes = [f"printf 'the script writes to %s\\n' {files.names} >&2"] if files.names else []
    return "\n".join(
        [
            *(f"export {name}={value}" for name, value in variables.items()),
            *notes,
            'job_script="$WATTLINE_TASK_DIR/${0##*/}"',
            f'printf %s "${SCRIPT}" >"$job_script" || exit',
            f"unset {SCRIPT} {START}",
            f'exec {shlex.join(interpreter)} "$job_script" "$@" {files.redirections}'.rstrip(),
        ]
    )


def _of_array(indices: Sequence[int]) -> dict[str, str]:
    return {
        "SLURM_ARRAY_JOB_ID": '"$WATTLINE_JOB"',
        "SLURM_ARRAY_TASK_ID": '"$WATTLINE_ARRAY_INDEX"',
        "SLURM_ARRAY_TASK_COUNT": str(len(indices)),
        "SLURM_ARRAY_TASK_MIN": str(min(indices)),
        "SLURM_ARRAY_TASK_MAX": str(max(indices)),
    }
