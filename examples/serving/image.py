"""A model that takes bytes: it inverts an image in the PGM format (grey, binary).

    python -m wattline_runtime.serve --model image.py:Invert
    curl GATEWAY/v1/services/image/infer -H "Authorization: Bearer KEY" \\
        -H "Content-Type: application/octet-stream" --data-binary @in.pgm --output out.pgm
"""

from collections.abc import Mapping

from wattline_runtime.serve.model import InputRefused

INVERTED = bytes(255 - value for value in range(256))


class Invert:
    """Outputs that are bytes come back as `application/octet-stream`."""

    takes_bytes = True

    def load(self, args: Mapping[str, str]) -> None:
        """Nothing to load."""

    def predict(self, batch: list[object]) -> list[object]:
        """A body of bytes is an input of type `bytes`; a JSON body is one as usual."""
        return [_inverted(image) for image in batch]


def _inverted(image: object) -> bytes | InputRefused:
    if not isinstance(image, bytes) or not image.startswith(b"P5"):
        return InputRefused("send a PGM image (P5) as application/octet-stream")
    fields = image.split(maxsplit=3)
    if len(fields) < 4 or not all(field.isdigit() for field in fields[1:3]):
        return InputRefused("the image's header is not P5 WIDTH HEIGHT 255")
    size = int(fields[1]) * int(fields[2])
    if size == 0 or len(image) < size:
        return InputRefused(f"{len(image)} bytes for an image of {size} pixels")
    return image[:-size] + image[-size:].translate(INVERTED)
