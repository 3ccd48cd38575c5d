"""Reads files for a parent: a JSON line with names on stdin, a summary as a line on stdout.

Files may be hostile and their parsers are native code, so they are read in a process of their own
with a limit of memory: what breaks it costs its own file only. See `reader_process`.
"""

import resource
import sys

import msgspec

from wattline_runtime.data.columns.reader_process import MAX_MEMORY_BYTES, FileToRead
from wattline_runtime.data.columns.summarize import DataFile, summarize
from wattline_runtime.data.columns.summary_file import encode_summary


def main() -> None:
    """Until stdin ends."""
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    least = MAX_MEMORY_BYTES if most == resource.RLIM_INFINITY else min(most, MAX_MEMORY_BYTES)
    resource.setrlimit(resource.RLIMIT_DATA, (least, most))
    decoder = msgspec.json.Decoder(FileToRead)
    for line in sys.stdin.buffer:
        file = decoder.decode(line)
        found = summarize([DataFile(file.path, file.open)])
        sys.stdout.buffer.write(encode_summary(found) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
