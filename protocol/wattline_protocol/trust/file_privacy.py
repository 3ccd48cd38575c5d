"""Whether only this user may open a secret file: by its mode, or by its access list if it has one.

With a POSIX access list the group bits of the mode are the list's mask and do not describe the
group. systemd passes credentials to a service with its own user in that way: root's file, mode
0440, and a list that lets that one user read. So an access list is checked itself, where there is
one. Format: Linux, include/uapi/linux/posix_acl_xattr.h.
"""

import os
import stat
import struct

OTHERS_BITS = 0o077
ACCESS_LIST = "system.posix_acl_access"
LIST_VERSION = 2
_HEAD = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")
_OWNER, _USER, _MASK = 0x01, 0x02, 0x10
"""Tags of entries that may include this user; those for groups and all others may not."""


def is_private(descriptor: int) -> bool:
    """Only its owner, root and the user we run as may open this file."""
    mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
    if not mode & OTHERS_BITS:
        return True
    if mode & stat.S_IRWXO:
        return False
    access = _access_list(descriptor)
    return access is not None and _grants_only(access, os.geteuid())


def _access_list(descriptor: int) -> bytes | None:
    try:
        return os.getxattr(descriptor, ACCESS_LIST)
    except OSError:  # it has none, or the file system supports none: then the mode decides
        return None


def _grants_only(access: bytes, uid: int) -> bool:
    entries = access[_HEAD.size :]
    if access[: _HEAD.size] != _HEAD.pack(LIST_VERSION) or len(entries) % _ENTRY.size:
        return False
    for tag, permissions, qualifier in _ENTRY.iter_unpack(entries):
        is_ours = tag in (_OWNER, _MASK) or (tag == _USER and qualifier in (0, uid))
        if permissions and not is_ours:
            return False
    return True
