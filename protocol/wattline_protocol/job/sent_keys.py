"""What a message has of a job's specification: the keys that differ from their defaults.

A peer of an earlier release refuses keys that it does not know, also those that a job does not use.
"""

from typing import Any

import msgspec


def sent_keys(value: Any) -> Any:
    """The specification, or a value in it, in the form in which it is encoded."""
    match value:
        case msgspec.Struct():
            config = value.__struct_config__
            keys = {config.tag_field: config.tag} if config.tag is not None else {}
            for field in msgspec.structs.fields(value):
                own = getattr(value, field.name)
                if field.required or own != _default_of(field):
                    keys[field.encode_name] = sent_keys(own)
            return keys
        case dict():
            return {name: sent_keys(item) for name, item in value.items()}
        case tuple():
            return tuple(map(sent_keys, value))
        case _:
            return value


def _default_of(field: msgspec.structs.FieldInfo) -> Any:
    made = field.default_factory
    return made() if callable(made) else field.default
