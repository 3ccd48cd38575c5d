"""The commit of the directory that a task ran in, for the lineage of what it made."""

import os

from wattline.inventory import NotFound, code_here
from wattline_protocol.data.requests import Origin
from wattline_protocol.text.visible import visible_line

MAX_COMMIT_CHARS = 100


def code_in(workdir: str) -> Origin | None:
    """As it is now, read with the rights of this process; None where there is no repository."""
    if not workdir:
        return None
    try:
        os.chdir(workdir)
        code = code_here()
    except (NotFound, OSError):
        return None
    finally:
        os.chdir("/")
    changed = f"with changes, SHA-256 {code['diff_sha256']}" if code["diff_bytes"] else ""
    return Origin("commit", visible_line(code["commit"])[:MAX_COMMIT_CHARS], changed)
