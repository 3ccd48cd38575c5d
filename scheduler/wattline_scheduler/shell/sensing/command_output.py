"""Readings by command: a program in its own process group, bounded in time and output."""

import asyncio
import contextlib
import os
import signal

from wattline_scheduler.shell.sensing.sensor_values import MAX_ANSWER_BYTES, ReadingFailed, cut

MAX_ERROR_BYTES = 4096


async def output_of(argv: tuple[str, ...]) -> bytes:
    """Output of the program. Cancelling kills it with all its children."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise ReadingFailed(f"cannot run {argv[0]}: {error.strerror}") from error
    try:
        return await _finished(process, argv[0])
    finally:
        await _end(process)


async def _finished(process: asyncio.subprocess.Process, name: str) -> bytes:
    out, errors = await asyncio.gather(
        _bounded(process.stdout, MAX_ANSWER_BYTES), _bounded(process.stderr, MAX_ERROR_BYTES)
    )
    if len(out) > MAX_ANSWER_BYTES:
        raise ReadingFailed(f"{name} prints more than {MAX_ANSWER_BYTES} bytes")
    status = await process.wait()
    if status != 0:
        lines = errors.decode("utf-8", errors="replace").strip().splitlines()
        detail = f": {cut(lines[-1])}" if lines else ""
        how = f"signal {-status}" if status < 0 else f"status {status}"
        raise ReadingFailed(f"{name} exited with {how}{detail}")
    return out


async def _bounded(stream: asyncio.StreamReader | None, most: int) -> bytes:
    """Up to one byte more than `most`, so that an excess is detected."""
    data = b""
    while stream is not None and len(data) <= most:
        part = await stream.read(most + 1 - len(data))
        if not part:
            break
        data += part
    return data


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill the whole process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
