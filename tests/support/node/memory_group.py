"""A memory limit set by the kernel, outside the product, so that a process really runs out.

The keeper sets such limits itself where it may make cgroup v2 groups with controllers. Many hosts
of developers do not let it, but let root make a v1 group; the kernel then kills all the same.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

V1_ROOT = Path("/sys/fs/cgroup/memory")


@contextmanager
def memory_group(limit_bytes: int) -> Iterator[str]:
    """A Python statement that puts its process under the limit. Skips where there is no way."""
    group = V1_ROOT / f"wattline-test-{uuid.uuid4().hex}"
    if not os.access(V1_ROOT / "cgroup.procs", os.W_OK):
        pytest.skip("no memory limit can be set here: no writable cgroup v1 memory controller")
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(limit_bytes))
    except OSError as error:
        pytest.skip(f"no memory limit can be set here: {error}")
    try:
        yield f"import os; open({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))"
    finally:
        group.rmdir()
