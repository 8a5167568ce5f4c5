"""The script ``run.sh`` and the instructions ``fetch.txt`` of a bundle."""

from pathlib import Path
from shlex import quote

from llm_core.train.bundle_manifest import BundleManifest

RUN_SCRIPT = r"""#!/usr/bin/env bash
# Trains @STAGE@ of @EXPERIMENT@. After a stop, start it again: it resumes from the newest checkpoint.
#
#   ./run.sh                       installs packages into .venv, checks, and trains with @RANKS@ process(es)
#   ./run.sh check                 does everything except training
#   RANKS=4 ./run.sh               uses another number of processes (GPUs); the result differs by rounding
#   BASE_PYTHON=python3.12 ./run.sh    creates .venv with this Python
#   PYTHON=/opt/env/bin/python ./run.sh    uses the packages of this Python, and installs nothing
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
ranks="${RANKS:-@RANKS@}"
case "$ranks" in *[!0-9]* | "" | 0) echo "error: RANKS=$ranks is not a number of processes" >&2; exit 1 ;; esac
gpus=@GPUS@
if [ "$gpus" -gt 0 ]; then gpus="$ranks"; fi
fail() { echo "error: $*" >&2; exit 1; }

python="${PYTHON:-${BASE_PYTHON:-python3}}"
command -v "$python" > /dev/null || fail "there is no $python here: name a Python by ${PYTHON:+PYTHON or }BASE_PYTHON=…"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "Python 3.11 or newer is needed, and $python is $("$python" -V 2>&1): name another by BASE_PYTHON=…"

if [ ! -d code ]; then
    "$python" - << 'END'
import hashlib, pathlib, shutil, sys, zipfile
archive = pathlib.Path("code.zip")
if hashlib.sha256(archive.read_bytes()).hexdigest() != "@CODE@":
    sys.exit("error: code.zip is damaged or changed: copy it again")
shutil.rmtree("code.unfinished", ignore_errors=True)
zipfile.ZipFile(archive).extractall("code.unfinished")
pathlib.Path("code.unfinished").rename("code")
END
fi
export PYTHONPATH="$PWD/code${PYTHONPATH:+:$PYTHONPATH}"
"$python" -m llm_core.train.bundle_check spec.json --gpus "$gpus" --disk @DISK@

if [ -z "${PYTHON:-}" ]; then
    if ! cmp -s requirements.txt .venv/installed.txt; then
        [ ! -e .venv ] || [ -f .venv/pyvenv.cfg ] || fail ".venv is not a Python environment: move it away"
        "$python" -m venv --clear .venv || fail "can't create .venv: install the module venv of $python"
        .venv/bin/python -m pip install -r requirements.txt @CONSTRAINTS@
        cp requirements.txt .venv/installed.txt
    fi
    python=.venv/bin/python
fi
"$python" -m llm_core.train.bundle_check spec.json --gpus "$gpus" --torch
if [ "${1:-}" = check ]; then
    echo "all files are there; the trainer compares their digests when it starts"
    exit 0
fi

# torchrun kills ranks this many seconds after a signal: enough to write a checkpoint.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT="${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-@SHUTDOWN@}"
if [ "$ranks" -gt 1 ] && [ -z "${OMP_NUM_THREADS:-}" ]; then
    cores="$("$python" -c 'from llm_core.train.threads import threads_per_rank; print(threads_per_rank('"$ranks"'))')"
    export OMP_NUM_THREADS="$cores"
fi
export PYTHONUNBUFFERED=1
# One rank needs no torchrun, which takes as long to start as the trainer.
if [ "$ranks" -eq 1 ]; then exec "$python" -m llm_core.train spec.json; fi
exec "$python" -m torch.distributed.run --standalone --nproc-per-node "$ranks" -m llm_core.train spec.json
"""

FOLDERS = {"shards": "token_shards", "tokenizer": "tokenizer", "start": "start"}
"""Role → its folder in a bundle."""


def run_script(
    manifest: BundleManifest, ranks: int, gpus: int, code: str, disk: int, constrained: bool, shutdown: int
) -> str:
    """``run.sh``. ``code``: SHA-256 of the archive; ``disk``: the most bytes that the run writes."""
    text = RUN_SCRIPT
    values = {
        "STAGE": manifest.stage,
        "EXPERIMENT": manifest.experiment,
        "RANKS": ranks,
        "GPUS": gpus,
        "CODE": code,
        "DISK": disk,
        "CONSTRAINTS": "-c constraints.txt" if constrained else "",
        "SHUTDOWN": shutdown,
    }
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def fetch_text(manifest: BundleManifest, sources: dict[str, Path], included: set[str], folder: str) -> str:
    """``fetch.txt``: the files that the bundle needs, and how to copy those that it does not contain.

    ``sources``: role → the folder on the machine where the bundle was written.
    """
    here = quote(folder)
    lines = [
        f"{manifest.stage} of {manifest.experiment}: copy this folder and the files below to the machine that trains.",
        "Replace MACHINE, and run these commands where the bundle was written. Then, on that machine: ./run.sh",
        f"When training has finished, copy the folder run back, and type: pedigree adopt {here}/run",
        "(for an experiment that is not built in, with --experiment FILE.yaml).",
        "",
        f"rsync -a {here}/ MACHINE:{here}/",
    ]
    for role, files in manifest.inputs.items():
        if role in included:
            continue
        size = sum(file.size for file in files.values())
        excluded = " --exclude manifest.json --exclude documents.parquet" if role == "shards" else ""
        lines.append(f"# {FOLDERS[role]}: {len(files)} files, {size:,} bytes")
        lines.append(f"rsync -a --partial{excluded} {quote(str(sources[role]))}/ MACHINE:{here}/{FOLDERS[role]}/")
    lines += ["", "# after training; without --exclude, this also copies the last checkpoints, and adopt compares them"]
    points = [
        f"--include 'checkpoints/step_{step:08d}/***'" for step in manifest.config["training"].get("branch_points", [])
    ]
    chosen = " ".join([*points, *(["--include checkpoints/"] if points else []), "--exclude 'checkpoints/*'"])
    lines += [f"rsync -a --partial {chosen} MACHINE:{here}/run/ {here}/run/", "", "# file, bytes, SHA-256"]
    for role, files in manifest.inputs.items():
        lines += [f"{FOLDERS[role]}/{name} {file.size} {file.sha256}" for name, file in files.items()]
    return "\n".join(lines) + "\n"
