"""The `wattline` command and the Python client; `wattline.task` is for code inside a task.

Only the standard library is imported here, because a task's own interpreter must be able to `import
wattline.task`. The client is loaded on first use.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wattline.client import Client as Client
    from wattline.client import WattlineError as WattlineError

__all__ = ["Client", "WattlineError"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from importlib import import_module

        return getattr(import_module("wattline.client"), name)
    raise AttributeError(f"module 'wattline' has no attribute {name!r}")
