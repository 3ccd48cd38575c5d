"""Builds ``libnvidia-ml.so.1`` from the packaged C sources, once per content, and caches it."""

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from wattline_sim.driver import headers

LIBRARY_NAME = "libnvidia-ml.so.1"
_COMPILE_DEADLINE_S = 120
_FLAGS = ("-std=gnu11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-pthread")
_LINK_FLAGS = (f"-Wl,-soname,{LIBRARY_NAME}", "-Wl,-z,defs")
_LIBRARIES = ("-ldl",)


class BuildError(RuntimeError):
    """The driver library could not be built; the message is one line that says what to do."""


def default_cache() -> Path:
    """``$XDG_CACHE_HOME/wattline/driver``, by default below ``~/.cache``."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "wattline" / "driver"


def library(cache: Path | None = None, *, extra_flags: Sequence[str] = ()) -> Path:
    """Return the built library, compiling it only if this content was never built before.

    Raises BuildError where there is no C compiler or where it fails.
    """
    sources = _sources()
    target = (cache or default_cache()) / _key(sources, extra_flags) / LIBRARY_NAME
    if not target.is_file():
        _compile(sources, target, extra_flags)
    return target


def _sources() -> dict[str, str]:
    """File name → text of everything that goes into the compilation."""
    folder = Path(__file__).parent
    texts = {path.name: path.read_text() for path in sorted(folder.glob("*.[ch]"))}
    texts["state_layout.h"] = headers.state_header()
    texts["nvml_types.h"] = headers.nvml_header()
    return texts


def _key(sources: dict[str, str], extra_flags: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for part in (platform.machine(), *_FLAGS, *_LINK_FLAGS, *extra_flags):
        digest.update(part.encode() + b"\0")
    for name, text in sorted(sources.items()):
        digest.update(f"{name}\0{len(text)}\0{text}".encode())
    return digest.hexdigest()[:32]


def _compile(sources: dict[str, str], target: Path, extra_flags: Sequence[str]) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        raise BuildError(
            "no C compiler (cc) to build the simulated driver:"
            " run `sudo apt-get install gcc libc6-dev`"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="build-") as work_name:
        work = Path(work_name)
        for name, text in sources.items():
            (work / name).write_text(text)
        units = [name for name in sorted(sources) if name.endswith(".c")]
        output = work / LIBRARY_NAME
        command = [compiler, *_FLAGS, *extra_flags, *units, "-o", str(output)]
        command += [*_LINK_FLAGS, *_LIBRARIES]
        done = subprocess.run(
            command, cwd=work, capture_output=True, text=True, timeout=_COMPILE_DEADLINE_S
        )
        if done.returncode != 0:
            raise BuildError(_explain(done.stderr))
        output.replace(target)  # atomic: two processes may build at once


def _explain(stderr: str) -> str:
    """One line from a compiler's output: its first error, with the usual cure."""
    errors = [line for line in stderr.splitlines() if "error" in line] or stderr.splitlines()
    first = errors[0] if errors else "no output"
    cure = " (run `sudo apt-get install gcc libc6-dev`)" if "No such file" in first else ""
    return f"the simulated driver did not compile: {first}{cure}"
