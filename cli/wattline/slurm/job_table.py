"""Maps the `#SBATCH` lines of a script to keys of a job file."""

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from wattline.slurm.options import OPTIONS
from wattline.slurm.script import Blame, Directive

Given = Mapping[str, Directive]
"""By long option its last directive, which counts, as in sbatch."""


class Surroundings(NamedTuple):
    """What surrounds the script when it is submitted."""

    flags: Mapping[str, object]
    """Of the command line: they take precedence over the script."""
    environ: Mapping[str, str]
    directory: str


class Key(NamedTuple):
    """A key of a job file, from the directive on that line."""

    line: int
    path: str
    value: object


Found = Iterator[Key | Blame]

_PLAIN = {
    "account": "account",
    "array": "array",
    "partition": "queue",
    "reservation": "reservation",
    "job-name": "name",
    "deadline": "windows.deadline",
    "priority": "priority",
    "nodes": "resources.nodes",
    "cpus-per-gpu": "resources.cpus_per_gpu",
}
"""Options whose value a job file has in the same form."""
_NUMBERS = {"cpus-per-gpu"}
_SWITCHES = {"hold": "hold", "contiguous": "resources.same_rack"}
_ALWAYS = {"kill-on-invalid-dep": "yes", "wait-all-nodes": "1"}
"""Options for what Wattline always does, and the value that says so."""
_GPU_OPTIONS = ("gpus-per-node", "gpus-per-task", "gres", "gpus")
_GPU_FLAGS = ("gpus", "gpu_share", "mig")
_NO_LIMIT = {"0", "-1", "infinite", "unlimited"}

_NUMBER = re.compile(r"[0-9]{1,9}")
_GPUS = re.compile(r"(?:(?P<type>[A-Za-z0-9][\w.-]*):)?(?P<count>[0-9]{1,9})|(?P<alone>[\w.-]+)")
_MIG = re.compile(r"[1-7]g\.[0-9]{1,3}gb")
_SIZE = re.compile(r"([0-9]{1,15})([KMGT]?)B?", re.IGNORECASE)
_KIB = {"K": 1, "": 1 << 10, "M": 1 << 10, "G": 1 << 20, "T": 1 << 30}
_MAIL_TYPES = {
    "NONE": (),
    "BEGIN": ("begin",),
    "END": ("end",),
    "FAIL": ("fail",),
    "REQUEUE": ("requeue",),
    "ALL": ("begin", "end", "fail", "requeue"),
}
_DEPENDENCY = re.compile(r"(afterok|afterany)((?::[0-9]{1,15})+)")


def job_keys(given: Given, around: Surroundings) -> Found:
    """Keys of the job, and what has no counterpart."""
    for directive in given.values():
        instead = OPTIONS[directive.option].instead
        if instead:
            yield Blame(directive.line, f"--{directive.option} has no counterpart: {instead}")
    yield from _plain(given, around.directory)
    yield from _time(given)
    yield from _tasks(given, around.flags)
    yield from _gpus(given, around.flags)
    yield from _cpus(given, around.flags)
    yield from _memory(given, around.flags)
    yield from _dependency(given)
    yield from _export(given, around.environ)
    yield from _mail(given, around.flags)


def node_count(given: Given, flags: Mapping[str, object]) -> int | None:
    """Nodes of the job; None: a range, or no number."""
    asked = given["nodes"].value if "nodes" in given else "1"
    text = str(flags.get("nodes") or asked)
    return int(text) if _NUMBER.fullmatch(text) else None


def _plain(given: Given, directory: str) -> Found:
    for option, path in _PLAIN.items():
        if option in given:
            line, _, value = given[option]
            is_number = option in _NUMBERS and _NUMBER.fullmatch(value)
            yield Key(line, path, int(value) if is_number else value)
    for option, path in _SWITCHES.items():
        if option in given:
            yield Key(given[option].line, path, True)
    for option, right in _ALWAYS.items():
        if option in given and given[option].value != right:
            yield Blame(given[option].line, f"--{option} is always {right}: omit it")
    if "container-image" in given:
        line, _, image = given["container-image"]
        yield Key(line, "launch.image", image)
        yield Key(line, "launch.how", "container")
    if "chdir" in given:
        where = posixpath.normpath(posixpath.join(directory, given["chdir"].value))
        yield Key(given["chdir"].line, "workdir", where)


def _time(given: Given) -> Found:
    """Slurm reads a bare number as minutes."""
    if "time" not in given:
        return
    line, _, value = given["time"]
    if value.casefold() not in _NO_LIMIT:
        yield Key(line, "limits.runtime", f"{value}m" if _NUMBER.fullmatch(value) else value)


def _tasks(given: Given, flags: Mapping[str, object]) -> Found:
    nodes = node_count(given, flags)
    for option, right in (("ntasks", nodes), ("ntasks-per-node", 1)):
        if option in given and given[option].value != str(right):
            line, _, value = given[option]
            yield Blame(
                line,
                f"--{option}={value}: each node runs the script once, which is --ntasks-per-node=1:"
                " request --nodes or --cpus-per-task, or call torchrun for a process per GPU",
            )


def _gpus(given: Given, flags: Mapping[str, object]) -> Found:
    """None unless requested, as in Slurm. With a flag for GPUs directives give their type alone."""
    named = [option for option in _GPU_OPTIONS if option in given]
    has_flag = any(flags.get(name) is not None for name in _GPU_FLAGS)
    if not named and not has_flag:
        yield Key(1, "resources.gpus_per_node", 0)
    counts = set()
    for option in named:
        line, _, value = given[option]
        try:
            count, kind = _gpus_per_node(option, value, node_count(given, flags))
        except ValueError as error:
            yield Blame(line, f"--{option}={value}: {error}")
            continue
        counts.add(count)
        if len(counts) > 1:
            yield Blame(line, f"--{option}={value}: another option says {min(counts - {count})}")
        is_mig = _MIG.fullmatch(kind) is not None
        if kind and not is_mig:
            yield Key(line, "resources.gpu_type", [kind])
        if is_mig and not has_flag:
            yield Key(line, "resources.mig", kind)
        elif not has_flag:
            yield Key(line, "resources.gpus_per_node", count)


def _gpus_per_node(option: str, value: str, nodes: int | None) -> tuple[int, str]:
    """GPUs of each node, and their type. Raises ValueError."""
    if option == "gres":
        value = _gpu_of_gres(value)
    found = _GPUS.fullmatch(value)
    if found is None:
        raise ValueError("expected GPUs of one type, as in h100:4")
    count = int(found["count"] or 1)
    kind = found["type"] or found["alone"] or ""
    if _MIG.fullmatch(kind) and count != 1:
        raise ValueError("a task gets one MIG device")
    if option != "gpus":
        return count, kind
    if not nodes or count % nodes:
        raise ValueError("a number in all does not divide among the nodes: use --gpus-per-node")
    return count // nodes, kind


def _gpu_of_gres(value: str) -> str:
    """`gpu:h100:4` without `gpu:`. Raises ValueError for other resources."""
    kind, _, rest = value.partition(":")
    if kind in ("shard", "mps"):
        raise ValueError("a share of a GPU is wattline submit --gpu-share 0.5")
    if kind != "gpu" or "," in value:
        raise ValueError("expected one resource, gpu; labels for what else nodes have: --label")
    return rest or "1"


def _gpu_count(given: Given, flags: Mapping[str, object]) -> int:
    """GPUs of each node; 0 also where the directive is wrong, which is reported."""
    if isinstance(gpus := flags.get("gpus"), int):
        return gpus
    if flags.get("gpu_share") or flags.get("mig"):
        return 1
    found = [key for key in _gpus(given, flags) if isinstance(key, Key)]
    by_path = {key.path: key.value for key in found}
    count = by_path.get("resources.gpus_per_node", 1)
    return count if isinstance(count, int) else 0


def _cpus(given: Given, flags: Mapping[str, object]) -> Found:
    if "cpus-per-task" not in given or flags.get("cpus_per_gpu"):
        return
    line, _, value = given["cpus-per-task"]
    gpus, cpus = _gpu_count(given, flags), _number(given, "cpus-per-task")
    if cpus and gpus and cpus % gpus == 0:
        yield Key(line, "resources.cpus_per_gpu", cpus // gpus)
    elif cpus and gpus:
        near = f"--cpus-per-gpu={cpus // gpus + 1}"
        yield Blame(line, f"--cpus-per-task={value} does not divide among {gpus} GPUs: use {near}")
    elif cpus != 1:
        why = "a job without GPUs gets one CPU on each node: omit it" if cpus else "no number"
        yield Blame(line, f"--cpus-per-task={value}: {why}")


def _memory(given: Given, flags: Mapping[str, object]) -> Found:
    gpus = _gpu_count(given, flags)
    flag = flags.get("cpus_per_gpu")
    per_gpu = flag if isinstance(flag, int) else _number(given, "cpus-per-gpu")
    cpus = per_gpu * gpus or _number(given, "cpus-per-task") or 1
    for option, times in (("mem", 1), ("mem-per-gpu", gpus), ("mem-per-cpu", cpus)):
        if option not in given or flags.get("memory"):
            continue
        line, _, value = given[option]
        size = _SIZE.fullmatch(value)
        if size is None:
            yield Blame(line, f"--{option}={value}: expected a size as in 32G")
        elif not int(size[1]) * times:
            yield Blame(line, f"--{option}={value}: omit it: without it there is no limit")
        else:
            kib = int(size[1]) * _KIB[size[2].upper()] * times
            yield Key(line, "resources.memory", f"{kib}KiB")


def _number(given: Given, option: str) -> int:
    """The number of a directive; 0 also where there is none, or no number."""
    value = given[option].value if option in given else ""
    return int(value) if _NUMBER.fullmatch(value) else 0


def _dependency(given: Given) -> Found:
    if "dependency" not in given:
        return
    line, _, value = given["dependency"]
    jobs: dict[str, list[int]] = {}
    for part in value.split(","):
        found = _DEPENDENCY.fullmatch(part)
        if found is None:
            why = "expected afterok:17:18 or afterany:17, all of which must be fulfilled"
            yield Blame(line, f"--dependency={value}: {why}")
            return
        jobs.setdefault(found[1], []).extend(map(int, found[2][1:].split(":")))
    for kind, numbers in jobs.items():
        yield Key(line, kind.replace("after", "after_"), numbers)


def _export(given: Given, environ: Mapping[str, str]) -> Found:
    """Nothing is exported by default."""
    if "export" not in given:
        return
    line, _, value = given["export"]
    variables: dict[str, str] = {}
    for part in value.split(","):
        name, equals, text = part.partition("=")
        if part in ("NONE", "NIL"):
            continue
        if part == "ALL":
            yield Blame(line, "--export=ALL: nothing is exported by default: name the variables")
        elif equals or name in environ:
            variables[name] = text if equals else environ[name]
        else:
            yield Blame(line, f"--export: {name} is not set here")
    if variables:
        yield Key(line, "env", variables)


def _mail(given: Given, flags: Mapping[str, object]) -> Found:
    """As in Slurm, an address alone causes no mail."""
    if "mail-type" not in given:
        return
    line, _, value = given["mail-type"]
    words = [word for word in value.upper().split(",") if word]
    for word in words:
        if word not in _MAIL_TYPES:
            known = ", ".join(_MAIL_TYPES)
            yield Blame(line, f"--mail-type={word} has no counterpart: use one of {known}")
    on = tuple(dict.fromkeys(one for word in words for one in _MAIL_TYPES.get(word, ())))
    if not on or flags.get("notify"):
        return
    if "mail-user" not in given:
        yield Blame(line, f"--mail-type={value}: add --mail-user=ADDRESS")
        return
    yield Key(given["mail-user"].line, "notify", given["mail-user"].value)
    yield Key(line, "notify_on", list(on))
