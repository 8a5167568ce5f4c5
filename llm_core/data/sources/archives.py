"""Web archives: WET files hold texts, WARC files hold what servers answered (ISO 28500)."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_core.data.records import BadRecord, Record, Skipped, checked, excerpt
from llm_core.data.sources.html import page_record
from llm_core.data.sources.jsonl import TOO_LONG
from llm_core.data.sources.streams import open_stream, read_up_to
from llm_core.errors import PedigreeError
from llm_core.experiment.sources import ReadingSpec

_CHARSET = re.compile(r"""charset\s*=\s*["']?([^"';,\s]+)""", re.IGNORECASE)
_PAGES = ("text/html", "application/xhtml+xml")
_FOUND = "200"


def archive_records(origin: str, path: Path, reading: ReadingSpec) -> Iterator[Record]:
    """A record for every text (``conversion``) and every web page that was found; the others are counted by kind.

    Rows are numbers of records in the file, from 0, of whatever kind.
    """
    try:
        from warcio.archiveiterator import ArchiveIterator
        from warcio.exceptions import ArchiveLoadFailed
    except ImportError as error:
        raise PedigreeError(
            f"{path}: reading web archives needs warcio: pip install 'pedigree-llm[web]' ({error})"
        ) from None
    records = 0
    with open_stream(path, reading.max_expansion) as stream:
        try:
            for record in ArchiveIterator(stream):
                yield _from_record(origin, records, record, reading)
                records += 1
        except ArchiveLoadFailed as error:
            raise PedigreeError(
                f"{path}: damaged after {records} records: {error}; fetch the file again, or take it out of the source"
            ) from None


def _from_record(origin: str, row: int, record: Any, reading: ReadingSpec) -> Record:
    url = record.rec_headers.get_header("WARC-Target-URI")
    if record.rec_type == "conversion":
        content = read_up_to(record.content_stream(), reading.max_record_bytes + 1)
        if len(content) > reading.max_record_bytes:
            return BadRecord(origin, row, TOO_LONG, excerpt(content))
        try:
            return checked(origin, row, content.decode("utf-8"), url)
        except UnicodeDecodeError as error:
            return BadRecord(origin, row, "not UTF-8", excerpt(content, error.start))
    if record.rec_type != "response" or record.http_headers is None:
        return Skipped(record.rec_type or "unknown")
    status = record.http_headers.get_statuscode()
    if status != _FOUND:
        return Skipped(f"response {status}")
    kind, _, options = (record.http_headers.get_header("Content-Type") or "").partition(";")
    if kind.strip().lower() not in _PAGES:
        return Skipped("response that is no page")
    charset = _CHARSET.search(options)
    content = read_up_to(record.content_stream(), reading.max_record_bytes + 1)
    return page_record(origin, row, content, reading, charset.group(1) if charset else None, url)
