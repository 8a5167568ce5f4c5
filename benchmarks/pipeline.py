"""From raw jsonl.zst to token shards with all rules on: throughput, where the time goes, and peak memory.

    python -m benchmarks.pipeline --text FOLDER [--runs 3] [--workers 2] [--times 10]

Each measurement is a process of its own on an empty store; compiled kernels are cached, so a first run warms up. The
throughput on one core is that of a process bound to one core; the other one has all cores and ``--workers`` processes.
MB are 10^6 bytes of the documents' text. Peak memory is the largest sum of the resident memory of all processes (seen
20 times a second), once for the corpus and once for a corpus ``--times`` as large (copies with other words in a fourth
of the places, which are no near duplicates). Prints Markdown tables.
"""

import argparse
import cProfile
import io
import json
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
import zstandard

from benchmarks.web_experiment import web_experiment

STAGES = (
    "raw_documents",
    "clean_documents",
    "unique_documents",
    "decontaminated_documents",
    "pretraining_documents",
    "tokenizer",
    "token_shards",
)
FUNCTIONS_SHOWN = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--times", type=int, default=0, help="also measure memory on a corpus so many times as large")
    parser.add_argument("--one", choices=["one core", "all cores", "profile"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one_run(options.text, options.workers, options.one)))
        return
    measured(options.text, options.workers, "all cores")
    with tempfile.TemporaryDirectory(prefix="pipeline_") as folder:
        results = {
            how: [measured(options.text, workers, how) for _ in range(options.runs)]
            for how, workers in (("one core", 1), ("all cores", options.workers))
        }
        _print_speed(results, options.workers)
        print(f"\n## Where the time goes (one core)\n\n{measured(options.text, 1, 'profile')['profile']}")
        if options.times:
            larger = Path(folder) / "text"
            enlarge(options.text, larger, options.times)
            _print_memory(results["all cores"], measured(larger, options.workers, "all cores"), options.times)


def one_run(text: Path, workers: int, how: str) -> dict[str, Any]:
    """All data stages over an empty store, in this process and its workers: seconds by stage, and figures."""
    from llm_core.graph.execute import materialize
    from llm_core.graph.job import Runtime
    from pipelines.session import open_session

    if how != "all cores":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(prefix="pipeline_") as folder:
        os.environ["PEDIGREE_HOME"] = folder
        experiment = Path(folder) / "web.yaml"
        experiment.write_text(yaml.safe_dump(web_experiment(text, workers), sort_keys=False))
        session = open_session(str(experiment))
        runtime = Runtime(compute=session.experiment.compute)
        seconds, stats = {}, {}
        profiler = cProfile.Profile()
        for stage in STAGES:
            started = time.perf_counter()
            if how == "profile":
                profiler.enable()
            stats[stage] = materialize(session.planner(), stage, runtime).artifact.stats
            profiler.disable()
            seconds[stage] = time.perf_counter() - started
    return {
        "seconds": seconds,
        "bytes": stats["raw_documents"]["bytes"],
        "documents": stats["raw_documents"]["documents"],
        "kept_bytes": stats["unique_documents"]["bytes"],
        "tokens": stats["token_shards"]["train_tokens"] + stats["token_shards"]["heldout_tokens"],
        "profile": _profile(profiler) if how == "profile" else "",
    }


def _profile(profiler: cProfile.Profile) -> str:
    """The functions that take the most time by themselves, as a Markdown table."""
    stats = pstats.Stats(profiler, stream=io.StringIO())
    rows = sorted(stats.stats.items(), key=lambda item: -item[1][2])[:FUNCTIONS_SHOWN]  # type: ignore[attr-defined]
    total = sum(row[2] for row in stats.stats.values())  # type: ignore[attr-defined]
    lines = ["| function | share of the time |", "|---|---|"]
    for (file, _, function), (_, _, own, _, _) in rows:
        name = f"{Path(file).stem}: {function}" if file != "~" else function
        lines.append(f"| `{name}` | {own / total:.1%} |")
    return "\n".join(lines)


def measured(text: Path, workers: int, how: str) -> dict[str, Any]:
    """``one_run`` in a process of its own, with the peak of its and its children's resident memory."""
    command = [sys.executable, "-m", "benchmarks.pipeline", "--text", str(text), "--workers", str(workers)]
    process = subprocess.Popen([*command, "--one", how], stdout=subprocess.PIPE)
    peak = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, sum(_resident(pid) for pid in _tree(process.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate()
    done.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"the run failed with exit code {process.returncode}")
    return {**json.loads(output.splitlines()[-1]), "peak": peak}


def _tree(root: int) -> list[int]:
    """The process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        parents.setdefault(parent, []).append(int(path.parent.name))
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += parents.get(pid, [])
    return found


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def enlarge(text: Path, folder: Path, times: int) -> None:
    """``times`` copies of every file; in all but the first, a fourth of the words are other words of the document."""
    folder.mkdir()
    for path in sorted(text.iterdir()):
        if ".jsonl" not in path.suffixes:
            continue
        name = path.name.split(".")[0]
        with zstandard.open(path, "rt", encoding="utf-8", newline="\n") as file:
            texts = [json.loads(line)["text"] for line in file]
        for copy in range(times):
            generator = np.random.default_rng([copy, len(texts)])
            with zstandard.open(folder / f"{name}.{copy:02d}.jsonl.zst", "wt", encoding="utf-8", newline="\n") as file:
                for original in texts:
                    changed = _changed(original, generator) if copy else original
                    file.write(json.dumps({"text": changed}, ensure_ascii=False) + "\n")


def _changed(text: str, generator: np.random.Generator) -> str:
    words = np.array(text.split(" "), dtype=object)
    chosen = np.flatnonzero(generator.random(len(words)) < 0.25)
    words[chosen] = words[generator.integers(0, len(words), len(chosen))]
    return " ".join(words)


def _print_speed(results: dict[str, list[dict[str, Any]]], workers: int) -> None:
    first = results["one core"][0]
    megabytes = first["bytes"] / 1e6
    print(
        f"{first['documents']:,} documents, {megabytes:.1f} MB of text; {first['kept_bytes'] / 1e6:.1f} MB kept, "
        f"{first['tokens']:,} tokens. Medians of {len(results['one core'])} runs.\n"
    )
    print(f"| stage | one core, s | share | {workers} workers, s |\n|---|---|---|---|")
    medians = {
        how: {stage: statistics.median(run["seconds"][stage] for run in runs) for stage in STAGES}
        for how, runs in results.items()
    }
    totals = {how: statistics.median(sum(run["seconds"].values()) for run in runs) for how, runs in results.items()}
    for stage in STAGES:
        one, many = medians["one core"][stage], medians["all cores"][stage]
        print(f"| {stage} | {one:.2f} | {one / totals['one core']:.0%} | {many:.2f} |")
    print(f"| all | {totals['one core']:.2f} | | {totals['all cores']:.2f} |")
    print(f"\nMB of text a second and core: {megabytes / totals['one core']:.2f} on one core, ", end="")
    print(f"{megabytes / totals['all cores'] / workers:.2f} on each of {workers}.")


def _print_memory(small: list[dict[str, Any]], large: dict[str, Any], times: int) -> None:
    peak = statistics.median(run["peak"] for run in small)
    print("\n## Peak memory\n\n| corpus | MB of text | MB kept | seconds | peak of all processes, MB |")
    print("|---|---|---|---|---|")
    for name, run, most in (("as it is", small[0], peak), (f"{times} times", large, large["peak"])):
        sizes = (run["bytes"], run["kept_bytes"])
        figures = [f"{size / 1e6:,.0f}" for size in sizes] + [
            f"{sum(run['seconds'].values()):.0f}",
            f"{most / 1e6:,.0f}",
        ]
        print(f"| {name} | {' | '.join(figures)} |")
    print(f"\nRatio: {large['peak'] / peak:.2f}.")


if __name__ == "__main__":
    main()
