"""Web archives: WET files contain texts, WARC files contain answers of servers (ISO 28500)."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_core.data.records import BadRecord, Record, Skipped, as_document, excerpt
from llm_core.data.sources.html import page_record
from llm_core.data.sources.jsonl import TOO_LONG
from llm_core.data.sources.streams import open_stream, read_up_to
from llm_core.errors import PedigreeError
from llm_core.experiment.sources import ReadingSpec
from llm_core.extras import missing

_CHARSET = re.compile(r"""charset\s*=\s*["']?([^"';,\s]+)""", re.IGNORECASE)
_PAGES = ("text/html", "application/xhtml+xml")
_FOUND = "200"
_STATUS = re.compile(r"\d{3}")
_ENCODINGS = {"identity": "", "none": "", "x-gzip": "gzip"}
_HEADER_BYTES = 1 << 20
_LONG_LINE = 1 << 16


def archive_records(origin: str, path: Path, reading: ReadingSpec) -> Iterator[Record]:
    """A record for every text (``conversion``) and every web page; other records are skipped and counted by kind.

    Rows count the records of all kinds in the file, from 0.
    """
    try:
        from warcio.archiveiterator import ArchiveIterator
        from warcio.exceptions import ArchiveLoadFailed
    except ImportError as error:
        raise missing(f"{path}: reading web archives", f"warcio ({error})", "web") from None
    records = 0
    with open_stream(path, reading.max_expansion) as stream:
        archive = ArchiveIterator(stream, no_record_parse=True)
        archive.reader = _bounded(archive.reader)
        try:
            for record in archive:
                yield _from_record(origin, records, record, reading)
                archive.read_to_end()
                if record.length is None or record.raw_stream.limit or archive.err_count:
                    raise ArchiveLoadFailed("the next one is cut off, or its length is wrong")
                records += 1
        except ArchiveLoadFailed as error:
            raise PedigreeError(
                f"{path}: damaged after {records} records: {error}; fetch the file again, or take it out of the source"
            ) from None


def _bounded(reader: Any) -> Any:
    """warcio's ``reader``, which now raises for an endless line instead of collecting it in memory."""
    from warcio.exceptions import ArchiveLoadFailed

    read_line = reader.readline

    def readline(length: int | None = None) -> bytes:
        line: bytes = read_line(_HEADER_BYTES if length is None else min(length, _HEADER_BYTES))
        if len(line) >= _LONG_LINE and not line.endswith(b"\n"):
            raise ArchiveLoadFailed("an endless line of headers")
        return line

    reader.readline = readline
    return reader


def _from_record(origin: str, row: int, record: Any, reading: ReadingSpec) -> Record:
    url = record.rec_headers.get_header("WARC-Target-URI")
    if record.rec_type == "conversion":
        content = read_up_to(record.raw_stream, reading.max_record_bytes + 1)
        if len(content) > reading.max_record_bytes:
            return BadRecord(origin, row, TOO_LONG, excerpt(content))
        try:
            return as_document(origin, row, content.decode("utf-8"), url)
        except UnicodeDecodeError as error:
            return BadRecord(origin, row, "not UTF-8", excerpt(content, error.start))
    if record.rec_type != "response" or not record.length or not (url or "").lower().startswith(("http:", "https:")):
        return Skipped(record.rec_type or "unknown")
    if record.length > reading.max_record_bytes + _HEADER_BYTES:
        return BadRecord(origin, row, TOO_LONG, excerpt(url))
    return _answer(origin, row, url, record, reading)


def _answer(origin: str, row: int, url: str, record: Any, reading: ReadingSpec) -> Record:
    """The answer of a server as a record, if it is a page."""
    from warcio.bufferedreaders import BufferedReader
    from warcio.statusandheaders import StatusAndHeadersParser

    try:
        headers = record.http_headers = StatusAndHeadersParser([], verify=False).parse(record.raw_stream)
    except EOFError:  # the file ends here; the length of the record shows it
        return Skipped("response")
    status = headers.get_statuscode()
    if status != _FOUND:
        return Skipped(f"response {status}" if _STATUS.fullmatch(status) else "response without a status")
    kind, _, options = (headers.get_header("Content-Type") or "").partition(";")
    if kind.strip().lower() not in _PAGES:
        return Skipped("response that is no page")
    given = (headers.get_header("Content-Encoding") or "").strip().lower()
    encoding = _ENCODINGS.get(given, given)
    if encoding and encoding not in BufferedReader.get_supported_decompressors():
        return BadRecord(origin, row, "unknown content encoding", excerpt(given))
    headers.replace_header("Content-Encoding", encoding)
    stream = record.content_stream()
    content = read_up_to(stream, reading.max_record_bytes + 1)
    unpacker = getattr(stream, "decompressor", None)  # None if the content is not packed as it says
    if len(content) <= reading.max_record_bytes and not getattr(unpacker, "eof", True):
        return BadRecord(origin, row, "damaged content", excerpt(url))
    charset = _CHARSET.search(options)
    return page_record(origin, row, content, reading, charset.group(1) if charset else None, url)
