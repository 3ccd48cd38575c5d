"""Loads the compiled parts of other packages; standard library only, as the keeper needs it.

Such a package has a C source beside its bindings in Python. It is compiled when Wattline is
installed, where there is a compiler, to `_NAME*.so`; without it the package does the same in
Python. Each library exports `wattline_NAME_layout`, the version of its structures: one of another
version was built from other sources, and would read what it is given in the wrong places.
"""

import ctypes
from pathlib import Path
from typing import TypeVar

Library = TypeVar("Library", bound=ctypes.CDLL)


def load(folder: Path, name: str, layout: int, kind: type[Library]) -> Library | None:
    """The library in a folder; None = none was built for this machine and this layout."""
    for file in folder.glob(f"_{name}*.so"):
        try:
            library = kind(str(file))
            built = ctypes.c_int.in_dll(library, f"wattline_{name}_layout").value
        except (OSError, ValueError):  # for another machine, or of a version without a layout
            continue
        if built == layout:
            return library
    return None
