"""Collects the report's numbers from artifacts, formatted where people read them."""

import json
from collections.abc import Mapping
from typing import Any

from llm_core.experiment.model import ModelSpec
from llm_core.report import read
from llm_core.report.ablation import RESULTS, TIMING, best_learning_rate, flat
from llm_core.report.formatting import (
    dollars,
    duration,
    exact,
    in_bytes,
    moment,
    percent,
    short,
    signed,
)
from llm_core.report.read import Inputs
from llm_core.store.manifest import Artifact
from llm_core.train.results import TrainingResults

Facts = list[tuple[str, str]]

NONE = "\N{EN DASH}"
FUNNEL = {
    "raw_documents": "raw",
    "clean_documents": "clean",
    "judged_documents": "judged",
    "unique_documents": "unique",
    "decontaminated_documents": "decontaminated",
}
SPLITS = {"train": "training split", "heldout": "held-out split"}
OURS, UNIGRAM, XZ = "heldout", "baseline_unigram", "baseline_xz"
NAMES = {
    OURS: "held-out text, this model",
    UNIGRAM: "held-out text, unigram tokens",
    XZ: "held-out text, xz",
    "continuation": "real continuation, this model",
    "baseline_overlap": "real continuation, shared letters",
}
METRICS = {
    "bits_per_byte": "bits per byte",
    "accuracy": "accuracy",
    "accuracy_likelihood": "accuracy by likelihood alone",
    "accuracy_per_byte": "accuracy by likelihood per byte",
}


def json_lines(artifact: Artifact, name: str) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file."""
    # Not splitlines: it also splits at U+2028 and the like, which JSON does not escape.
    return [json.loads(line) for line in (artifact.path / name).read_bytes().split(b"\n") if line]


def headline(inputs: Inputs, price_per_gpu_hour: float) -> dict[str, Any]:
    """The headline numbers. ``gpu_hours`` is None when no GPU was used."""
    run, scores = read.trained(inputs), read.evaluated(inputs)
    on_gpu = not str(run.device).startswith("CPU")
    gpu_hours = run.ranks * run.seconds_training / 3600 if on_gpu else None
    return {
        "bits_per_byte": scores.bits_per_byte,
        "bits_per_byte_stderr": scores.bits_per_byte_stderr,
        "unigram_bits_per_byte": scores.unigram_bits_per_byte,
        "xz_bits_per_byte": scores.xz_bits_per_byte,
        "below_unigram": 1 - scores.bits_per_byte / scores.unigram_bits_per_byte,
        "accuracy": scores.accuracy,
        "accuracy_stderr": scores.accuracy_stderr,
        "overlap_accuracy": scores.overlap_accuracy,
        "overlap_accuracy_stderr": scores.overlap_accuracy_stderr,
        "chance": scores.chance,
        "parameters": run.parameters,
        "tokens": run.tokens,
        "final_validation_loss": run.final_validation_loss,
        "seconds_training": run.seconds_training,
        "seconds_total": sum(seconds for _, seconds in stage_seconds(inputs)),
        "gpu_hours": gpu_hours,
        "cost_dollars": gpu_hours * price_per_gpu_hour if gpu_hours and price_per_gpu_hour else None,
    }


def device(inputs: Inputs) -> str:
    """The device that trained the model."""
    run = read.trained(inputs)
    return str(run.device) if run.ranks == 1 else f"{run.ranks} × {run.device}"


def tiles(figures: Mapping[str, Any]) -> list[dict[str, str]]:
    """The headline numbers as ``what``, ``value`` and ``more``."""
    error = f"± {figures['bits_per_byte_stderr']:.3f}, " if figures["bits_per_byte_stderr"] else ""
    share = figures["below_unigram"]
    beside = f"{percent(abs(share))} {'below' if share >= 0 else 'above'} unigram tokens"
    return [
        {
            "what": "Bits per byte",
            "value": f"{figures['bits_per_byte']:.3f}",
            "more": error + beside,
        },
        {"what": "Parameters", "value": short(figures["parameters"]), "more": exact(figures["parameters"])},
        {
            "what": "Training tokens",
            "value": short(figures["tokens"]),
            "more": f"{figures['tokens'] / figures['parameters']:.2g} per parameter",
        },
    ]


def clock_tiles(figures: Mapping[str, Any], inputs: Inputs) -> list[dict[str, str]]:
    """Time and cost in the same form."""
    run = read.trained(inputs)
    gpu_hours, cost = figures["gpu_hours"], figures["cost_dollars"]
    if gpu_hours is None:
        price = ("no GPU", "trained on the CPU")
    elif cost is None:
        price = (f"{gpu_hours:.3g} GPU h", "no price is set (compute.price_per_gpu_hour)")
    else:
        price = (dollars(cost), f"{gpu_hours:.3g} GPU hours")
    return [
        {
            "what": "Training time",
            "value": duration(figures["seconds_training"]),
            "more": f"{short(run.tokens_per_second)} tokens/s, whole graph {duration(figures['seconds_total'])}",
        },
        {"what": "Cost of training", "value": price[0], "more": price[1]},
    ]


def funnel_rows(inputs: Inputs) -> list[tuple[str, int, int]]:
    """(stage, documents, bytes) for each stage up to the training split."""
    split = read.split(inputs)
    rows = [
        (name, left.documents, left.bytes)
        for role, name in FUNNEL.items()
        if role in inputs
        for left in [read.left(inputs[role])]
    ]
    return [*rows, ("training split", split.train_documents, split.train_bytes)]


def drop_rows(inputs: Inputs) -> list[tuple[str, int]]:
    """(rule, documents that it dropped), most drops first, without the held-out split."""
    drops = [
        (rule.replace("_", " "), count)
        for role in (*FUNNEL, "pretraining_documents")
        if role in inputs and role != read.RAW
        for rule, count in read.funnel(inputs[role]).dropped_by_rule.items()
        if count
    ]
    return sorted(drops, key=lambda row: -row[1])


def data(inputs: Inputs) -> dict[str, Any]:
    """The table of the data section."""
    split = read.split(inputs)
    to_split = funnel_rows(inputs)[:-1]
    splits = [
        (SPLITS["train"], split.train_documents, split.train_bytes),
        (SPLITS["heldout"], split.heldout_documents, split.heldout_bytes),
    ]
    # Both splits come from the last stage before them.
    before = [0, *(documents for _, documents, _ in to_split), to_split[-1][1]]
    rows = [
        {
            "name": name,
            "documents": exact(documents),
            "size": in_bytes(size),
            "kept": percent(documents / source) if source else NONE,
            "dropped": exact(source - documents) if 0 < place < len(to_split) else NONE,
            "mean": exact(size / documents) if documents else NONE,
        }
        for place, ((name, documents, size), source) in enumerate(zip([*to_split, *splits], before, strict=True))
    ]
    raw = read.raw(inputs)
    bad = raw.bad_records
    reasons = ", ".join(f"{reason} ({count})" for reason, count in raw.bad_records_by_reason.items())
    return {"rows": rows, "bad_records": f"{exact(bad)} bad records were set aside: {reasons}." if bad else ""}


def tokenizer(inputs: Inputs) -> Facts:
    """The tokenizer section."""
    fitted, shards = read.tokenizer(inputs), read.shards(inputs)
    return [
        ("Vocabulary", exact(fitted.vocab_size)),
        ("Bytes per token, training", f"{fitted.bytes_per_token:.3f}"),
        ("Bytes per token, held out", f"{fitted.heldout_bytes_per_token:.3f}"),
        ("Unknown tokens, held out", percent(fitted.unk_rate)),
        ("Entries never used", f"{exact(shards.unused_entries)} ({percent(shards.unused_share)})"),
        ("Trained on", f"{in_bytes(fitted.sample_bytes)}, {exact(fitted.sample_documents)} documents"),
        ("Training split", f"{short(shards.train_tokens)} tokens"),
        ("Held-out split", f"{short(shards.heldout_tokens)} tokens"),
    ]


def training(inputs: Inputs) -> Facts:
    """The training section: settings and results of the run."""
    model = inputs["pretrained_model"]
    run, config = read.trained(inputs), model.manifest.config["training"]
    optimizer, schedule = config["optimizer"], config["schedule"]
    bits = run.final_validation_bits_per_byte
    warmup = f", {schedule['warmup_steps']} warm-up" if schedule["warmup_steps"] else ""
    cooldown = f", {schedule['cooldown_steps']} cooldown" if schedule.get("cooldown_steps") else ""
    return [
        ("Steps", exact(run.steps)),
        ("Tokens of a step", _phases(config, "batch_schedule", "batch_tokens")),
        *_read(run),
        ("Sequence length", _phases(config, "sequence_schedule", "sequence_length")),
        *_bags(config),
        ("Optimiser", f"{optimizer['kind']}, decay {optimizer['weight_decay']:g}"),
        ("Schedule", f"{schedule['kind']}, peak {optimizer['lr']:g}{warmup}{cooldown}"),
        ("Precision", config["precision"]),
        ("Loss, first step", _loss(run.first_loss)),
        ("Loss, end", _loss(run.final_loss)),
        ("Validation loss, end", _loss(run.final_validation_loss)),
        *([("Validation, bits per byte, end", f"{bits:.4f}")] if bits is not None else []),
        ("Skipped steps", exact(run.skipped_steps)),
        *([("Left out after rollbacks, of these", exact(left))] if (left := run.left_out_steps) else []),
    ]


def machine(inputs: Inputs) -> Facts:
    """How the run used the machine."""
    run = read.trained(inputs)
    return [
        ("Device", device(inputs)),
        ("Peak memory", in_bytes(run.peak_memory_bytes)),
        *([("Model FLOPs utilisation", percent(run.mfu))] if run.mfu is not None else []),
    ]


def _read(run: TrainingResults) -> Facts:
    """The data of a run: passes and share per source, and the share of padding in its batches."""
    sources = run.sources
    mixed = list(sources) != ["train"]  # a mixture names its sources; without a mixture, the whole split is one source
    return [
        (
            f"Passes over {name}" if mixed else "Passes over the data",
            f"{found['epochs']:.2f}" + (f", {percent(found['share'])} of the sequences" if mixed else ""),
        )
        for name, found in sources.items()
    ] + [
        (f"Padding, {name}" if mixed else "Padding", f"{percent(found['padding_share'])} of the batches")
        for name, found in sources.items()
        if "padding_share" in found
    ]


def continued(inputs: Inputs) -> list[dict[str, str]]:
    """The table of runs that continue the full run: cooldown branches, and longer contexts."""
    return [
        {
            "name": role,
            "steps": exact(read.run(artifact).steps),
            "length": exact(artifact.manifest.config["training"]["sequence_length"]),
            "before": _loss(read.run(artifact).start_validation_loss),
            "after": _loss(read.run(artifact).final_validation_loss),
        }
        for role, artifact in inputs.items()
        if artifact.stats.get("start_validation_loss") is not None
    ]


def _bags(config: Mapping[str, Any]) -> Facts:
    """The phase in which positions are bags of tokens, if there is one."""
    bags = config.get("superposition")
    return [("Superposition", f"bags of {bags['tokens']} tokens to step {exact(bags['steps'])}")] if bags else []


def _phases(config: Mapping[str, Any], schedule: str, field: str) -> str:
    """A setting that may change with the steps."""
    phases = config.get(schedule) or [{"from_step": 0, field: config[field]}]
    return ", ".join(
        exact(phase[field]) + (f" from step {exact(phase['from_step'] + 1)}" if phase["from_step"] else "")
        for phase in phases
    )


def model(inputs: Inputs) -> Facts:
    """The architecture from its configuration, without unset and derived fields."""
    config = inputs["pretrained_model"].manifest.config["model"]
    fields = {name: value for name, value in config.items() if name in ModelSpec.model_fields}
    given = {name: value for name, value in flat(fields).items() if value not in (None, [])}
    return [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in given.items()]


def ablation(inputs: Inputs) -> dict[str, Any] | None:
    """Results, timing and table rows of the ablation section; None without proxy runs."""
    if "ablation_report" not in inputs:
        return None
    folder = inputs["ablation_report"].path
    results = json.loads((folder / RESULTS).read_bytes())
    timing = json.loads((folder / TIMING).read_bytes())
    runs = [*results["variants"], *results["learning_rates"]]
    best = best_learning_rate(results)
    variants = []
    for line in results["variants"]:
        clock, baseline = timing["variants"][line["name"]], line["name"] == results["baseline"]
        difference = line["difference"]
        variants.append(
            {
                "name": line["name"],
                "baseline": baseline,
                "changes": _changes(line, clock),
                "loss": _loss(line["validation_loss"]),
                "difference": "baseline" if baseline else NONE if difference is None else signed(difference),
                "verdict": "" if baseline or not difference else "better" if difference < 0 else "worse",
                "parameters": short(line["parameters"]),
                "seconds": duration(clock["seconds"]),
                "speed": exact(clock["tokens_per_second"]),
                "memory": in_bytes(clock["peak_memory_bytes"]),
            }
        )
    rates = [
        {
            "rate": f"{line['learning_rate']:g}",
            "best": line["learning_rate"] == best,
            "loss": _loss(line["validation_loss"]),
            "training": _loss(line["training_loss"]),
            "seconds": duration(timing["learning_rates"][f"{line['learning_rate']:g}"]["seconds"]),
        }
        for line in results["learning_rates"]
    ]
    tokens = " or ".join(sorted({short(line["tokens"]) for line in runs}))
    return {"results": results, "timing": timing, "variants": variants, "rates": rates, "tokens": tokens}


def _changes(line: Mapping[str, Any], clock: Mapping[str, Any]) -> str:
    """A variant's overrides of results and ``compute``; or the variant that is the same run."""
    if clock["same_run_as"] is not None:
        return f"the same run as {clock['same_run_as']}"
    changed = [*line["changes"].items(), *((f"compute.{field}", value) for field, value in clock["compute"].items())]
    return ", ".join(f"{field}: {json.dumps(value)}" for field, value in changed) or NONE


def evals(inputs: Inputs) -> dict[str, Any]:
    """The table of the evaluation section."""
    artifact = inputs["eval_results"]
    rows = []
    for line in json_lines(artifact, "evals.jsonl"):
        as_share = line["metric"].startswith("accuracy")
        figure = percent if as_share else "{:.4f}".format
        rows.append(
            {
                "task": NAMES.get(line["task"], line["task"]),
                "metric": METRICS.get(line["metric"], line["metric"]),
                "value": figure(line["value"]),
                "stderr": NONE if line["stderr"] is None else f"± {figure(line['stderr'])}",
                "chance": NONE if line["chance"] is None else figure(line["chance"]),
                "n": exact(line["n"]),
                "ours": line["task"] == OURS,
            }
        )
    scores = read.evaluated(inputs)
    return {
        "rows": rows,
        "documents": exact(scores.documents),
        "size": in_bytes(scores.heldout_bytes),
        "choices": round(1 / scores.chance),
        "suites": bool(scores.suites),
        "groups": [
            {
                "suite": name,
                "accuracies": [(group, percent(value)) for group, value in found["accuracy_by_group"].items()],
            }
            for name, found in scores.suites.items()
            if "accuracy_by_group" in found
        ],
    }


def samples(inputs: Inputs) -> list[tuple[str, list[dict[str, Any]]]]:
    """(prompt, generations by temperature), in the order of the file."""
    prompts: dict[str, list[dict[str, Any]]] = {}
    for row in json_lines(inputs["generation_samples"], "samples.jsonl"):
        item = {"temperature": f"{float(row['temperature'])}", "text": row["text"], "tokens": row["tokens"]}
        prompts.setdefault(row["prompt"], []).append(item)
    return list(prompts.items())


def lineage(inputs: Inputs) -> list[dict[str, str]]:
    """One row per artifact: its content and its inputs."""
    return [
        {
            "name": artifact.manifest.stage,
            "content": artifact.manifest.content,
            "inputs": ", ".join(dict.fromkeys(item.stage for item in artifact.manifest.inputs)) or NONE,
        }
        for artifact in inputs.values()
    ]


def made(inputs: Inputs) -> list[dict[str, str]]:
    """One row per artifact: when and where it was built."""
    rows = []
    for artifact in inputs.values():
        manifest = artifact.manifest
        commit = (manifest.git_commit or "")[:9]
        rows.append(
            {
                "name": manifest.stage,
                "identity": manifest.identity,
                "made": moment(manifest.started),
                "host": manifest.host,
                "seconds": duration(manifest.seconds),
                "commit": (commit + (" + changes" if manifest.git_dirty else "")) or NONE,
            }
        )
    return rows


def check_rows(inputs: Inputs) -> list[dict[str, Any]]:
    """Every check of every artifact, failed ones first."""
    rows = [
        {"asset": artifact.manifest.stage, **check.model_dump(include={"name", "passed", "blocking", "message"})}
        for artifact in inputs.values()
        for check in artifact.manifest.checks
    ]
    return sorted(rows, key=lambda row: row["passed"])


def stage_seconds(inputs: Inputs) -> list[tuple[str, float]]:
    """(stage, seconds of its build), in the order of the graph, with all proxy runs as one row."""
    rows = [(artifact.manifest.stage, artifact.manifest.seconds) for artifact in inputs.values()]
    found = ablation(inputs)
    if found:
        clocks = [*found["timing"]["variants"].values(), *found["timing"]["learning_rates"].values()]
        # A variant and a learning rate may be one artifact, which was trained once.
        rows.append(("proxy runs", sum({clock["identity"]: clock["seconds"] for clock in clocks}.values())))
    return rows


def cost(inputs: Inputs, figures: Mapping[str, Any], price_per_gpu_hour: float) -> dict[str, Any]:
    """The table of time and cost."""
    total = figures["seconds_total"] or 1.0
    gpu_hours, price = figures["gpu_hours"], figures["cost_dollars"]
    rows: list[dict[str, Any]] = []
    for name, seconds in sorted(stage_seconds(inputs), key=lambda row: -row[1]):
        trained = name == inputs["pretrained_model"].manifest.stage
        rows.append(
            {
                "name": name,
                "seconds": duration(seconds),
                "share": percent(seconds / total),
                "gpu_hours": f"{gpu_hours:.3g}" if trained and gpu_hours else NONE,
                "cost": dollars(price) if trained and price else NONE,
                "total": False,
            }
        )
    rows.append({"name": "all", "seconds": duration(figures["seconds_total"]), "share": "100%", "total": True})
    rows[-1] |= {"gpu_hours": f"{gpu_hours:.3g}" if gpu_hours else NONE, "cost": dollars(price) if price else NONE}
    if gpu_hours is None:
        note = "Training ran on the CPU: no GPU hour was spent."
    elif price is None:
        note = "Set compute.price_per_gpu_hour to see what the GPU hours cost."
    else:
        note = f"At {dollars(price_per_gpu_hour)} per GPU hour; only the steps of the full run are counted."
    return {
        "rows": rows,
        "note": f"{note} A stage that was found in the store counts with the time it took when it was made.",
    }


def versions(inputs: Inputs) -> Facts:
    """Library versions of all artifacts; where they differ, each with its stages."""
    found: dict[str, dict[str, list[str]]] = {}
    for artifact in inputs.values():
        for library, version in artifact.manifest.versions.items():
            found.setdefault(library, {}).setdefault(version, []).append(artifact.manifest.stage)
    return [
        (
            library,
            next(iter(kinds)) if len(kinds) == 1 else "; ".join(f"{v} ({', '.join(s)})" for v, s in kinds.items()),
        )
        for library, kinds in sorted(found.items())
    ]


def _loss(value: float | None) -> str:
    return "diverged" if value is None else f"{value:.4f}"
