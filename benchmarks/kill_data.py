"""kill -9 at random moments of the data chain: are the shards the same, byte for byte?

    python -m benchmarks.kill_data --text FOLDER [--trials 10] [--workers 2]

FOLDER holds jsonl files (plain or compressed). One undisturbed run of all data stages gives the reference; every trial
starts from an empty store, is killed once at a random moment, and runs again to its end. Prints a Markdown table.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks.web_experiment import web_experiment
from llm_core.store.digests import file_digest
from llm_core.store.manifest import MANIFEST


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kill_data_") as folder:
        root = Path(folder)
        experiment = root / "web.yaml"
        experiment.write_text(yaml.safe_dump(web_experiment(options.text, workers=options.workers), sort_keys=False))
        started = time.monotonic()
        run(experiment, root / "reference")
        seconds = time.monotonic() - started
        expected = shards(root / "reference")
        print(f"Undisturbed: {seconds:.1f} s, {len(expected)} files of shards.\n")
        print("| trial | killed after | finished stages | finished parts | shards |\n|---|---|---|---|---|")
        moments = random.Random(options.seed)
        same = 0
        for trial in range(1, options.trials + 1):
            home = root / f"trial{trial}"
            moment = moments.uniform(1.0, seconds)
            killed = run(experiment, home, kill_after=moment)
            stages = len(list((home / "store/artifacts").glob("*/*/manifest.json")))
            parts = len(list((home / "store/parts").glob("*/??/*/part.json")))
            run(experiment, home)
            equal = shards(home) == expected
            same += equal and killed
            outcome = "equal" if equal else "DIFFERENT"
            print(f"| {trial} | {moment:.1f} s{'' if killed else ' (too late)'} | {stages} | {parts} | {outcome} |")
        print(f"\n{same} of {options.trials} killed runs ended in the shards of the undisturbed one.")
    sys.exit(same != options.trials)


def run(experiment: Path, home: Path, kill_after: float | None = None) -> bool:
    """Run the data stages; whether they were killed (with all that they had started) before their end."""
    environment = {**os.environ, "PEDIGREE_HOME": str(home)}
    command = [sys.executable, "-m", "pipelines.cli", "run", str(experiment), "--select", "token_shards"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        code = process.wait(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    if code:
        raise SystemExit(f"the data stages failed with exit code {code}")
    return False


def shards(home: Path) -> dict[str, str]:
    """Name → digest of all files of the shards, but for the manifest (which has times in it)."""
    (folder,) = (home / "store/artifacts/token_shards").iterdir()
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files}


if __name__ == "__main__":
    main()
