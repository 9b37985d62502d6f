"""One folder of log files, one file per part, bounded by keeping a single older generation of each."""

from pathlib import Path

PART_BYTES_MAX = 4 * 1024 * 1024
"""A log larger than this when its part starts is moved aside; the one moved aside before it goes."""

TAIL_LINES = 12


def open_log(folder: Path, part: str) -> Path:
    """Makes ready the log of one part and returns its path.

    Args:
        folder: Where all logs are, made when missing.
        part: The part's name, used as the file's name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{part}.log"
    if path.exists() and path.stat().st_size > PART_BYTES_MAX:
        path.replace(path.with_suffix(".log.1"))
    path.touch()
    return path


def tail(path: Path, *, lines: int = TAIL_LINES, since_byte: int = 0) -> list[str]:
    """Returns the last lines of a log, none from before ``since_byte``; empty when there is no such file."""
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(since_byte, size - lines * 1024))
            text = stream.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return text.splitlines()[-lines:]
