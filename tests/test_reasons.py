import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import duckdb
import polars as pl
import pytest

from llm_core.errors import PedigreeError
from llm_core.reasons import explained, reason_of
from llm_core.store.files import disk_errors

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.is_char_device(), reason="no /dev/full here")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "the disk is full. Nothing was committed. Make room there, and run again"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "permission is denied. Nothing was committed. Give this user the right"),
        (errno.EMFILE, "too many files are open in this process. Nothing was committed. Raise the limit"),
        (errno.ENOENT, "there is no such file or folder"),
        (errno.EIO, "the disk reports an error"),
        (errno.ENOMEM, "memory ran out"),
    ],
)
def test_a_system_error_is_told_by_its_own_reason(code, words):
    with pytest.raises(PedigreeError) as told, disk_errors(Path("/store")):
        raise OSError(code, os.strerror(code), "/store/file")
    assert str(told.value).startswith(f"/store/file: {words}")


@needs_full
@pytest.mark.parametrize(
    "write",
    [
        lambda table, path: table.write_parquet(path),
        lambda table, path: table.lazy().sink_parquet(path),
        lambda table, path: table.write_csv(path),
        lambda table, path: duckdb.sql(f"copy (select range a from range(100000)) to '{path}' (format csv)"),
    ],
)
def test_a_full_disk_is_known_whatever_a_library_makes_of_it(tmp_path, write):
    table = pl.DataFrame({"number": range(50_000)})
    link = tmp_path / "full"  # a writer that renames would put a file in the place of the device itself
    link.symlink_to(FULL)
    message = rf"^{tmp_path}: the disk is full \(.*No space left on device"
    with pytest.raises(PedigreeError, match=message), disk_errors(tmp_path):
        write(table, link)


def test_files_that_may_not_grow_are_told_as_such(tmp_path):
    """In a process of its own: safetensors, torch and polars under a limit of file size."""
    code = f"""
        import resource, signal, sys
        import polars, torch
        from pathlib import Path
        from safetensors.torch import save_file
        from llm_core.store.files import disk_errors
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        folder, numbers = Path({str(tmp_path)!r}), torch.zeros(100_000)
        for write in (
            lambda: save_file({{"numbers": numbers}}, folder / "a"),
            lambda: torch.save(numbers, folder / "b"),
            lambda: polars.DataFrame({{"number": range(50_000)}}).write_parquet(folder / "c"),
            lambda: (folder / "d").write_bytes(bytes(100_000)),
        ):
            try:
                with disk_errors(folder):
                    write()
            except Exception as error:
                print(type(error).__name__, str(error).replace("\\n", " "))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("PedigreeError") for line in lines)
    assert all("larger than allowed" in line for line in (lines[0], *lines[2:])), lines
    assert "torch could not write the whole file" in lines[1]


def test_memory_and_what_caused_an_error_are_reasons_too():
    assert reason_of(MemoryError()).what == "memory ran out"
    error = ValueError("the part can't be made")
    error.__cause__ = OSError(errno.EROFS, "Read-only file system")
    assert reason_of(error).what == "the file system is read-only"


def test_what_is_not_known_is_told_as_it_is():
    for error in (ValueError("seven"), BrokenPipeError(errno.EPIPE, "Broken pipe"), PedigreeError("No space left")):
        with pytest.raises(type(error)) as told, disk_errors(Path("/store")):
            raise error
        assert told.value is error
    assert explained(ValueError("seven")) == "ValueError: seven"
    assert explained(KeyError()) == "KeyError"
    assert explained(OSError(errno.ENOSPC, "words")) == "the disk is full: make room there"
