"""What the system says of a disk."""

from errno import EDQUOT, ENOSPC

DISK_FULL = (ENOSPC, EDQUOT)
"""Errors of a full disk, and of a used-up quota."""
