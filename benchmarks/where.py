"""What conditions of ``where`` cost and save: reading a Parquet file, and writing what is left of it as parts.

    python -m benchmarks.where [--rows 300000] [--runs 3]

Makes a Parquet file of that many rows of about 1.6 kB of text, with a column ``int_score`` of 0 to 5, each alike often.
Prints a Markdown table of medians in seconds of processor time, of one process.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from llm_core.data.sources.parquet import parquet_records
from llm_core.data.sources.unit_parts import write_unit
from llm_core.experiment.sources import ReadingSpec

CONDITIONS = ((), ("int_score >= 0",), ("int_score >= 1",), ("int_score >= 3",), ("int_score >= 5",))
ROW_GROUP = 30_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="where_") as folder:
        path = Path(folder) / "made.parquet"
        scores = np.random.default_rng(0).integers(0, 6, options.rows)
        texts = [f"word{number} " * 200 for number in range(options.rows)]
        pl.DataFrame({"text": texts, "int_score": scores}).write_parquet(path, row_group_size=ROW_GROUP)
        print("| where | documents | seconds |\n|---|---|---|")
        for where in CONDITIONS:
            runs = [one_run(path, where) for _ in range(options.runs)]
            documents, seconds = runs[0][0], statistics.median(run[1] for run in runs)
            print(f"| {f'`{where[0]}`' if where else 'none'} | {documents:,} | {seconds:.2f} |")


def one_run(path: Path, where: tuple[str, ...]) -> tuple[int, float]:
    """(documents, seconds of processor time)."""
    reading = ReadingSpec(name="made", where=where, max_expansion=1_000_000)
    with tempfile.TemporaryDirectory(prefix="where_") as out:
        started = time.process_time()
        stats = write_unit("made", Path(out), "made", parquet_records("made.parquet", path, reading), 10_000)
        return stats["documents"], time.process_time() - started


if __name__ == "__main__":
    main()
