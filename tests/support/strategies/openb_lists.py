"""A small list of pods and nodes in the published form, made up for tests."""

from pathlib import Path

NODES = ["sn,cpu_milli,memory_mib,gpu,model"]
NODES += [f"small-{n},32000,131072,2,T4" for n in range(6)]
NODES += [f"large-{n},96000,393216,8,G2" for n in range(4)]

HEADER = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec"
KINDS = (
    ("4000,8192,1,810,", 12),
    ("11000,32768,1,1000,", 10),
    ("3000,8192,1,470,", 9),
    ("3000,8192,1,160,", 5),
    ("24000,65536,0,0,", 4),
    ("6000,16384,1,1000,T4", 4),
    ("88000,262144,8,1000,", 1),
    ("16000,65536,2,1000,G2|T4", 2),
)


def write_lists(folder: Path) -> tuple[Path, Path]:
    """Pods and nodes."""
    pods, nodes = folder / "pods.csv", folder / "nodes.csv"
    asks = [ask for ask, count in KINDS for _ in range(count)]
    lines = [HEADER, *(f"pod-{n:04},{ask}" for n, ask in enumerate(asks))]
    pods.write_text("\n".join(lines) + "\n")
    nodes.write_text("\n".join(NODES) + "\n")
    return pods, nodes


def write_power_model(folder: Path) -> Path:
    """Watts of both models, and of the processor that the study assumes."""
    path = folder / "watts.csv"
    path.write_text(
        "kind,model,idle_w,full_w,cores_per_cpu,note\n"
        "gpu,T4,10,70,,\ngpu,G2,30,150,,\ncpu,Xeon-E5-2682v4,15,120,16,\n"
    )
    return path
