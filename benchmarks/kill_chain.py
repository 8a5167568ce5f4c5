"""kill -9 at random moments of the whole graph, through command line and Dagster: is anything false or lost?

    python -m benchmarks.kill_chain [--kills 200] [--seed 0] [--write docs/results/kill_chain.md]

A small experiment of made text, with a study, a full run that saves a checkpoint every five steps, evals and reports,
is made once undisturbed. Then it is made again and again in an empty store, half of the times by ``pedigree run``, half
by ``dagster asset materialize``. Processes are killed with all that they started, and the run is started again. Every
second kill waits for a random step of a training run. After each kill, and at each end, every artifact in the store is
compared with the undisturbed one: identity, content, and all files that are not volatile, reports among them.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from llm_core.store.digests import file_digest
from llm_core.store.manifest import MANIFEST, read_manifest
from tests.pipelines.conftest import World, make_world

STEPS, CHECKPOINT_EVERY = 120, 5
KILLS_A_STORE = 20
"""After so many kills a run goes on to its end, and the next one begins with an empty store."""

COMMANDS = {
    "pedigree run": ("pipelines.cli", "run"),
    "dagster": ("dagster", "asset", "materialize", "-m", "pipelines.custom", "--select", "*"),
}


def world_in(folder: Path) -> World:
    folder.mkdir(parents=True)
    world = make_world(folder)
    content = yaml.safe_load(world.experiment.read_text())
    content["training"]["tokens"] = STEPS * content["training"]["batch_tokens"]
    content["compute"]["checkpoint_every"] = CHECKPOINT_EVERY
    world.experiment.write_text(yaml.safe_dump(content, sort_keys=False))
    return world


def store_of(world: World) -> Path:
    return world.folder / "home" / "store"


def artifacts(world: World) -> dict[str, dict[str, str]]:
    """``kind/identity`` → content digest and digests of its files as they are on the disk, but for volatile ones."""
    found = {}
    for path in store_of(world).glob(f"artifacts/*/*/{MANIFEST}"):
        manifest = read_manifest(path.parent)
        assert manifest is not None
        files = {item.path: file_digest(path.parent / item.path) for item in manifest.files if not item.volatile}
        found[f"{manifest.kind}/{manifest.identity}"] = {"content": manifest.content, **files}
    return found


def parts(world: World) -> set[str]:
    return {path.parent.name for path in store_of(world).glob("parts/*/??/*/part.json")}


def training(world: World) -> Iterator[Path]:
    """Metrics of training runs that are at work, or were stopped."""
    yield from store_of(world).glob("work/training_run/*/metrics.jsonl")


def steps(world: World) -> int:
    lines = 0
    for path in training(world):
        try:
            lines += path.read_bytes().count(b"\n")
        except FileNotFoundError:  # committed a moment ago
            continue
    return lines


@dataclass
class Tally:
    """What the kills hit, and what was wrong afterwards."""

    kills: Counter[str] = field(default_factory=Counter)
    while_training: int = 0
    after_a_checkpoint: int = 0
    stores: int = 0
    false: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)


def start(world: World, how: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", *COMMANDS[how]]
    if how == "pedigree run":
        command.append(str(world.experiment))
    log = (world.folder / "log").open("ab")
    return subprocess.Popen(command, env=world.environment, stdout=log, stderr=log, start_new_session=True)


def kill(process: subprocess.Popen[bytes]) -> None:
    """The process and all that it has started, trainers included, which have sessions of their own."""
    for pid in [process.pid, *descendants(process.pid)]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def descendants(pid: int) -> list[int]:
    try:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except FileNotFoundError:
        return []
    return [other for child in children for other in (child, *descendants(child))]


def compare(world: World, reference: dict[str, dict[str, str]], tally: Tally, when: str) -> dict[str, dict[str, str]]:
    here = artifacts(world)
    for name, made in here.items():
        if name not in reference:
            tally.false.append(f"{when}: {name} is no artifact of the undisturbed run")
        elif made != reference[name]:
            differ = sorted(key for key in {**made, **reference[name]} if made.get(key) != reference[name].get(key))
            tally.false.append(f"{when}: {name} differs in {', '.join(differ)}")
    return here


def one_store(
    world: World, how: str, reference: dict[str, dict[str, str]], tally: Tally, chance: random.Random
) -> None:
    """Make the whole graph, killed up to ``KILLS_A_STORE`` times on the way."""
    known: dict[str, dict[str, str]] = {}
    known_parts: set[str] = set()
    for number in range(KILLS_A_STORE):
        process, aimed = start(world, how), number % 2 == 1
        begun, had = time.monotonic(), steps(world)
        wanted, moment = had + chance.randint(1, 10), chance.uniform(0.5, 6.0)
        while process.poll() is None:
            if aimed and steps(world) >= wanted:
                time.sleep(chance.uniform(0, 0.05))  # so that it may also hit a checkpoint that is being written
                break
            if not aimed and time.monotonic() - begun >= moment:
                break
            time.sleep(0.005)
        if process.poll() is not None:  # it ended before its moment came
            break
        tally.while_training += steps(world) > had
        tally.after_a_checkpoint += any(any(path.parent.glob("checkpoints/step_*")) for path in training(world))
        kill(process)
        tally.kills[how] += 1
        when = f"store {tally.stores + 1} ({how}), kill {number + 1}"
        here, there = compare(world, reference, tally, when), parts(world)
        tally.lost += [f"{when}: artifact {name}" for name in known.keys() - here.keys()]
        tally.lost += [f"{when}: part {name}" for name in known_parts - there]
        known, known_parts = here, there
    process = start(world, how)
    when = f"store {tally.stores + 1} ({how}), end"
    if process.wait():
        tally.other.append(f"{when}: exit code {process.returncode}: {(world.folder / 'log').read_text()[-2000:]}")
    here = compare(world, reference, tally, when)
    tally.lost += [f"{when}: {name} is missing" for name in reference.keys() - here.keys()]
    if verdicts := {record["verdict"] for record in world.plan().values()} - {"hit"}:
        tally.other.append(f"{when}: the plan says {verdicts}")
    if "whole" not in (told := world.pedigree("verify", str(world.experiment))):
        tally.other.append(f"{when}: {told}")
    tally.stores += 1


def report(tally: Tally, artifacts_made: int) -> str:
    lines = [
        "# Kills of the whole graph",
        "",
        f"`python -m benchmarks.kill_chain`: {artifacts_made} artifacts, a full run of {STEPS} steps with a checkpoint "
        f"every {CHECKPOINT_EVERY}, a study, evals, an export and both reports; up to {KILLS_A_STORE} kills (-9) "
        "on the way to each finished store.",
        "",
        "| | |",
        "|---|---:|",
        *(f"| kills through `{how}` | {count} |" for how, count in tally.kills.items()),
        f"| of all: while a run trained | {tally.while_training} |",
        f"| with a checkpoint to go on from | {tally.after_a_checkpoint} |",
        f"| stores made to the end | {tally.stores} |",
        f"| artifacts with other contents (false hits) | {len(tally.false)} |",
        f"| artifacts or parts lost | {len(tally.lost)} |",
        f"| other faults | {len(tally.other)} |",
    ]
    faults = [*tally.false, *tally.lost, *tally.other]
    return "\n".join([*lines, *(f"\n- {fault}" for fault in faults)]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    chance, tally = random.Random(options.seed), Tally()
    with tempfile.TemporaryDirectory(prefix="kill_chain_") as folder:
        root = Path(folder)
        undisturbed = world_in(root / "reference")
        begun = time.monotonic()
        undisturbed.pedigree("run", str(undisturbed.experiment))
        reference = artifacts(undisturbed)
        print(f"undisturbed: {len(reference)} artifacts in {time.monotonic() - begun:.0f} s", flush=True)
        while (kills := sum(tally.kills.values())) < options.kills:
            how = list(COMMANDS)[tally.stores % len(COMMANDS)]
            world = world_in(root / f"store{tally.stores}")
            # One source folder for all: where text lies is a part of its identity.
            world.experiment.write_text(undisturbed.experiment.read_text())
            one_store(world, how, reference, tally, chance)
            faults = len([*tally.false, *tally.lost, *tally.other])
            print(f"{kills} kills before, {sum(tally.kills.values())} after {how}: {faults} faults", flush=True)
    text = report(tally, len(reference))
    print(text)
    if options.write:
        options.write.write_text(text, encoding="utf-8")
    sys.exit(bool(tally.false or tally.lost or tally.other))


if __name__ == "__main__":
    main()
