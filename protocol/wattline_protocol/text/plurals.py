"""Counts with the right plural."""


def counted(count: int, thing: str, things: str = "") -> str:
    """`1 task`, `2 tasks`, `0 tasks`; `things` where the plural is irregular."""
    return f"{count} {thing}" if count == 1 else f"{count} {things or thing + 's'}"
