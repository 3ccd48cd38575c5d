"""The rotating log against a model: a byte string of which the end is kept."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from wattline_agent.keeper.logfile import MIN_LIMIT_BYTES, LogWriter, read_piece

writes = st.lists(
    st.binary(min_size=1, max_size=200).map(lambda b: b * 150), min_size=1, max_size=12
)


@given(writes=writes, reopen_at=st.integers(0, 12), offset=st.integers(-40_000, 200_000))
def test_any_read_agrees_with_the_whole_output(
    writes: list[bytes], reopen_at: int, offset: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        writer = LogWriter(f"{folder}/", MIN_LIMIT_BYTES)
        for number, data in enumerate(writes):
            if number == reopen_at:
                writer.close()
                writer = LogWriter(f"{folder}/", MIN_LIMIT_BYTES)
            writer.write(data)
        writer.close()
        whole = b"".join(writes)
        kept_bytes = sum(
            (folder / f).stat().st_size for f in ("log", "log.1") if (folder / f).exists()
        )
        piece = read_piece(f"{folder}/", offset, 5000)
        assert piece.end == len(whole)
        assert kept_bytes <= MIN_LIMIT_BYTES
        wanted = offset if offset >= 0 else max(0, len(whole) + offset)
        assert piece.start == min(max(wanted, len(whole) - kept_bytes), len(whole))
        assert piece.data == whole[piece.start : piece.start + 5000]
