"""Account that the demo's tasks run as: the user's own; for root one of `CANDIDATES`.

Root's tasks run as root only where no other account can read the Python that the demo runs in, such
as one below the closed home of root, and then the demo reports it.
"""

import os
import pwd
import stat
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from wattline.acts.run_as import JOB_ACCOUNT, account_name
from wattline_protocol.site.run_as import ROOT

CANDIDATES = (JOB_ACCOUNT, "nobody")
PROBE = """
import importlib.util, os, sys
os.chdir(sys.argv[1])
import wattline_examples, wattline_runtime, wattline.demo.recorded
assert importlib.util.find_spec("torch") is not None
"""
PROBE_S = 60.0


class RunsAs(NamedTuple):
    """Lines for the demo's site file, and notes for its user."""

    table: str
    """The lines of [run_as]."""
    text: str
    account: str = ""
    """Account that the demo, as root, gives files to; empty = none."""


def choose(root: Path, user: str) -> RunsAs:
    """For tasks of `user`, in the demo's folder, which other accounts may traverse afterwards."""
    uid = os.geteuid()
    if uid != 0:
        name = account_name(uid)
        rules = f'users = {{ {user} = "{name}" }}' if name else 'others = "keeper"'
        return RunsAs(rules, f"Tasks run as you, {name or uid}.")
    root.chmod(stat.S_IMODE(root.stat().st_mode) | stat.S_IXGRP | stat.S_IXOTH)
    failed = ""
    for name in CANDIDATES:
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        failed = _unable(account, root)
        if not failed:
            return RunsAs(f'users = {{ {user} = "{name}" }}', f"Tasks run as {name}.", name)
    why = failed or f"this host has neither of the accounts {' and '.join(CANDIDATES)}"
    text = f"Tasks run as root: no other account can run the demo's Python ({why})."
    return RunsAs(f'users = {{ {user} = "{ROOT}" }}', text)


def _unable(account: pwd.struct_passwd, root: Path) -> str:
    """Why the account cannot run the programs of the demo's tasks; empty = it can."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE, str(root)],
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": account.pw_dir},
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=[],
            capture_output=True,
            text=True,
            timeout=PROBE_S,
            check=False,
        )
    except OSError as error:
        return f"{account.pw_name}: {sys.executable}: {error.strerror}"
    except subprocess.SubprocessError as error:
        return f"{account.pw_name}: {error}"
    lines = done.stderr.strip().splitlines()
    return (
        "" if done.returncode == 0 else f"{account.pw_name}: {lines[-1] if lines else 'it fails'}"
    )


def give(runs_as: RunsAs, checkpoints: Path, starts: Path) -> None:
    """Give the account the files that tasks share: checkpoints, and records of starts."""
    checkpoints.chmod(0o1777)
    starts.touch(0o600)
    if runs_as.account:
        account = pwd.getpwnam(runs_as.account)
        os.chown(starts, account.pw_uid, account.pw_gid)
