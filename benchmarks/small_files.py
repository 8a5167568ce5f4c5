"""What a source of many small text files costs beside reading and writing their text.

    python -m benchmarks.small_files [--files 5000] [--runs 3] [--profile] [--folder FOLDER]

Makes that many text files of about 2 kB in a temporary folder (in FOLDER, where the disk matters), over an empty store.
Times, in one process and with one worker: the first plan, ``raw_documents`` by ``materialize``, and the plan after it.
"bare" is reading the same files and writing one Parquet file of their texts; bookkeeping is what the other times have
beyond it, per file. An experiment of one file runs first, so that the code of the stage is known and imported. Prints a
Markdown table of medians; ``--profile`` prints the functions that take the most time in place of it.
"""

import argparse
import cProfile
import os
import pstats
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import yaml

from benchmarks.web_experiment import web_experiment
from llm_core.graph.execute import materialize
from llm_core.graph.job import Runtime

STAGE = "raw_documents"
STEPS = ("bare", "plan before", STAGE, "plan after")
SENTENCE = "Sentence {number} of text {file} is as long as most sentences of such a text are. "
SENTENCES = 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    profiler = cProfile.Profile() if options.profile else None
    runs = []
    for _ in range(1 if profiler else options.runs):
        with tempfile.TemporaryDirectory(prefix="small_files_", dir=options.folder) as folder:
            runs.append(one_run(Path(folder), options.files, profiler))
    if profiler:
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(45)
        return
    print(f"| step | seconds for {options.files} files | bookkeeping per file, ms |\n|---|---|---|")
    bare = statistics.median(run["bare"] for run in runs)
    for step in STEPS:
        seconds = statistics.median(run[step] for run in runs)
        beyond = seconds - (bare if step == STAGE else 0.0)
        print(f"| {step} | {seconds:.2f} | {'' if step == 'bare' else f'{1000 * beyond / options.files:.2f}'} |")


def one_run(folder: Path, files: int, profiler: cProfile.Profile | None = None) -> dict[str, float]:
    """Step → seconds, over an empty store in ``folder``."""
    from pipelines.session import open_session

    os.environ["PEDIGREE_HOME"] = str(folder / "home")

    def session(name: str, count: int):  # type: ignore[no-untyped-def]
        texts = folder / name
        for number in range(count):
            path = texts / f"{number % 10}" / f"{number}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(SENTENCE.format(number=n, file=number) for n in range(SENTENCES)))
        (texts / "unused.jsonl").write_text("")
        experiment = web_experiment(texts, 1)
        experiment |= {"name": name, "raw": {"sources": [{"kind": "files", "paths": [str(texts / "**" / "*.txt")]}]}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(experiment))
        return open_session(str(folder / f"{name}.yaml"))

    def made(session) -> None:  # type: ignore[no-untyped-def]
        materialize(session.planner(), STAGE, Runtime(compute=session.experiment.compute))

    made(session("one", 1))
    many = session("many", files)
    time.sleep(0.1)  # a file that was written a moment ago is looked at twice
    seconds = {"bare": timed(lambda: bare(folder / "many", folder / "bare.parquet"))}
    seconds["plan before"] = timed(lambda: many.planner().plan({STAGE}), profiler)
    seconds[STAGE] = timed(lambda: made(many), profiler)
    seconds["plan after"] = timed(lambda: many.planner().plan({STAGE}), profiler)
    return seconds


def timed(work: Callable[[], object], profiler: cProfile.Profile | None = None) -> float:
    """Seconds that ``work`` takes."""
    started = time.perf_counter()
    if profiler:
        profiler.enable()
    work()
    if profiler:
        profiler.disable()
    return time.perf_counter() - started


def bare(texts: Path, target: Path) -> None:
    """Read all files, and write their texts."""
    rows = [path.read_text(encoding="utf-8") for path in sorted(texts.rglob("*.txt"))]
    pl.DataFrame({"text": rows}).write_parquet(target, compression_level=1)


if __name__ == "__main__":
    main()
