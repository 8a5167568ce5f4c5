"""Content digests of files."""

from pathlib import Path

from xxhash import xxh3_128

RUNTIME_ONLY = True

_CHUNK = 1 << 22


def file_digest(path: Path) -> str:
    """xxh3-128 of a file's content, as 32 hexadecimal digits; reads 4 MiB at a time."""
    digest = xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
