"""What `benchmarks.gpu` measures: the cases, what a roofline promises of each, and the measuring itself.

`python -m benchmarks.gpu_cases ORDER` measures one case in this process, and prints it as the last line of its output.
"""

import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.train import Trainee, batches
from benchmarks.train_peers import Contender, plain_cross_entropy, transformers
from llm_core.experiment.experiment import Experiment
from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.runtime import ComputeSpec, KeepSpec
from llm_core.experiment.tokens import TokenizerSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.model.accounting import activation_bytes_per_token, flops_per_token, layer_costs, parameter_count
from llm_core.model.backends import choose_backend
from llm_core.model.build import build_model
from llm_core.train.device_memory import estimate_memory
from llm_core.train.distribution import World, spread
from llm_core.train.hardware import Hardware
from llm_core.train.spec import SUMMARY, TrainerSpec
from llm_core.train.state import Piece

WARM_UP = 3
"""Steps that are not timed: they compile, and make the optimiser's state."""


@dataclass(frozen=True)
class Setting:
    """A training step: of which model, on what, and how."""

    preset: str = "llama3_1b"
    document_mask: bool | None = None
    """None: as the preset has it."""
    vocabulary: int = 32_768
    length: int = 2048
    sequences: int = 8
    """Of a micro-batch, which is the whole batch."""
    precision: str = "bf16"
    attention: str = "auto"
    recompute: str = "none"
    compiled: bool = True
    chunked: bool = True
    """Whether the loss never holds all logits."""
    who: str = "ours"

    @property
    def model(self) -> ModelSpec:
        """The model's specification."""
        masked = {} if self.document_mask is None else {"document_mask": self.document_mask}
        return ModelSpec(preset=self.preset, **masked)

    def experiment(self) -> Experiment:
        """The experiment that has such steps: what `preflight` judges, and what the trainer is told."""
        batch = self.length * self.sequences
        return Experiment(
            name="gpu",
            model=self.model,
            tokenizer=TokenizerSpec(vocab_size=self.vocabulary),
            training=TrainingSpec(
                sequence_length=self.length, batch_tokens=batch, tokens=20 * batch, precision=self.precision
            ),
            compute=ComputeSpec(
                micro_batch=self.sequences,
                compile=self.compiled,
                attention_backend=self.attention,
                activation_checkpointing=self.recompute,
                activation_checkpointing_every=2 if self.recompute == "every_nth" else None,
            ),
        )

    def trainer(self, shards: Path, work: Path, **compute: Any) -> TrainerSpec:
        """What the trainer is told."""
        experiment = self.experiment()
        return TrainerSpec.of(
            experiment.compute.model_copy(update=compute),
            model=experiment.model,
            training=experiment.training,
            vocab_size=self.vocabulary,
            seed=0,
            shards=shards,
            work=work,
        )


QT = Setting("qt_1b", vocabulary=10_001, length=512, sequences=16, recompute="selective")
MASKED = Setting(document_mask=True)
LONG = Setting(length=4096, sequences=4)

STEPS: dict[str, Setting] = {
    "llama3_1b": Setting(),
    "mixattention_1b, the model of one_billion": Setting("mixattention_1b"),
    "fp8": Setting(precision="fp8"),
    "qt_1b as its experiment has it": QT,
    "document mask: varlen": replace(MASKED, attention="varlen"),
    "recompute selectively": Setting(recompute="selective"),
    "recompute all": Setting(recompute="full"),
    "document mask: flex": replace(MASKED, attention="flex"),
    "document mask: sdpa": replace(MASKED, attention="sdpa"),
    "lfm2_1b": Setting("lfm2_1b"),
    "document mask: explicit, not compiled": replace(MASKED, attention="eager", sequences=4, compiled=False),
    "mixattention_1b in fp8": Setting("mixattention_1b", precision="fp8"),
    "recompute every second block": Setting(recompute="every_nth"),
    "not compiled": Setting(compiled=False),
    "all logits at once": Setting(chunked=False),
    "4,096 tokens": LONG,
    "4,096 tokens, fp8": replace(LONG, precision="fp8"),
    "transformers": Setting(who="transformers"),
    "transformers, not compiled": Setting(who="transformers", compiled=False),
}
"""Name → setting, the most important first."""

TOYS = {
    "llama3_1b": "tiny_llama3",
    "mixattention_1b": "tiny_mixattention",
    "qt_1b": "tiny_qt",
    "lfm2_1b": "tiny_lfm2",
}


def toy(setting: Setting) -> Setting:
    """The tiny model of the same kind, for a CPU. Nothing is compiled there; fp8 is refused, but not before."""
    small = {"preset": TOYS[setting.preset], "vocabulary": 300, "length": 64, "sequences": 2}
    return replace(setting, **small, compiled=setting.precision == "fp8")


BANDWIDTH = {
    "A10G": 600e9,
    "A100 40GB": 1555e9,
    "A100 80GB": 2039e9,
    "L40S": 864e9,
    "RTX 4090": 1008e9,
    "RTX 5090": 1792e9,
    "RTX PRO 4500": 896e9,
    "H100": 3350e9,
    "H100 NVL": 3900e9,
    "H100 PCIe": 2000e9,
    "H200": 4800e9,
    "H200 NVL": 4800e9,
    "B200": 8000e9,
}
"""Bytes per second of a device's memory, by the makers' data sheets; by the names of `llm_core.experiment.devices`."""

UPDATE_BYTES = 56
"""Bytes that a step moves per parameter beside activations: AdamW reads four numbers and writes three (28), clipping
reads gradients twice and writes them (12), the backward pass writes them (4), autocast reads weights and writes copies
(6), which both passes read (6)."""


def roofline_seconds(setting: Setting, peak: float, bandwidth: float) -> float:
    """What a step would take if each product ran at the device's peak and each byte moved at its bandwidth, in turn.

    Products: 6 FLOPs per token and number of a matrix, 2 more where blocks are made again; in fp8, those of the blocks
    run at twice ``peak`` (FLOP/s in bf16). Attention: 3.5 times its forward pass (its backward pass makes the scores
    again), of the keys that causality and windows leave; sdpa with a mask and ``eager`` make all of them. Documents
    narrow it further, which is not counted. Bytes: ``UPDATE_BYTES``; what is kept for the backward pass written and
    read, and its gradients; the logits in bf16 and twice in fp32.
    """
    spec, tokens = setting.model, setting.length * setting.sequences
    again = {"full": 1.0, "every_nth": 0.5}.get(setting.recompute, 0.0)
    costs = layer_costs(spec, setting.length)
    blocks = sum(cost.mixer.matmul_parameters + cost.feed_forward.matmul_parameters for cost in costs)
    head = 6 * setting.vocabulary * spec.d_model / peak
    products = (6 + 2 * again) * blocks / (2 * peak if setting.precision == "fp8" else peak)
    masked = spec.document_mask or any(_window(layer) or _biases(layer) for layer in spec.layers)
    backend = choose_backend(spec, "cuda", setting.attention, half=setting.precision != "fp32")
    whole = backend == "eager" or (backend == "sdpa" and masked)
    mixing = 0.0
    for layer, cost in zip(spec.layers, costs, strict=True):
        seen = min(_window(layer) or setting.length, setting.length)
        share = setting.length / seen if whole else 1 - seen / (2 * setting.length)
        mixing += cost.mixer.mixing_flops * (share if layer.mixer.attends else 1.0)
    kept = activation_bytes_per_token(spec, setting.length, precision=setting.precision)
    moved = UPDATE_BYTES * parameter_count(spec, setting.vocabulary).total
    moved += tokens * (kept * (4 + again) + 2 * 10 * setting.vocabulary)
    return tokens * (head + products + (3.5 + again) * mixing / peak) + moved / bandwidth


def _window(layer: LayerSpec) -> int | None:
    window: int | None = getattr(layer.mixer, "window", None)
    return window


def _biases(layer: LayerSpec) -> bool:
    position = layer.mixer.position_of()
    return position is not None and position.biases


def formula_bytes(setting: Setting, hardware: Hardware) -> int:
    """What `preflight` says that a device holds."""
    experiment = setting.experiment()
    return estimate_memory(experiment, experiment.compute, 1, hardware).total


def fitting(setting: Setting, hardware: Hardware) -> Setting | None:
    """With as many sequences, halved as often as it takes to fit ``hardware`` by the formula; None where none fit."""
    while formula_bytes(setting, hardware) > hardware.usable_memory:
        if setting.sequences == 1:
            return None
        setting = replace(setting, sequences=setting.sequences // 2)
    return setting


def _contender(setting: Setting, device: torch.device, log: Callable[[str], None]) -> Contender:
    generator = torch.Generator(device).manual_seed(0)
    model = build_model(setting.model, setting.vocabulary, device=device, generator=generator)
    if setting.who == "transformers":
        return transformers(setting.model, setting.vocabulary, model.state_dict(), setting.compiled)
    trained = spread(model, setting.trainer(Path("shards"), Path("work")), World(0, 1, device), log)

    def loss(batch: Any) -> torch.Tensor:
        if not setting.chunked:
            return plain_cross_entropy(trained, batch)
        objective: torch.Tensor = trained(batch.tokens, batch.targets, batch.documents).objective
        return objective / batch.targets.numel()

    return Contender("ours", trained, loss)


def step(setting: Setting, device: torch.device, steps: int) -> dict[str, Any]:
    """Train for some steps: the median step's rate, the peak of memory (bytes), the loss of the last, first seconds."""
    stream = batches(None, setting.vocabulary, setting.sequences, setting.length, device)
    ready = [next(stream) for _ in range(4)]

    def again() -> Iterator[Any]:
        while True:
            yield from ready

    trainee = Trainee(_contender(setting, device, _told), again(), 3e-4)
    started = time.perf_counter()
    trainee.train(WARM_UP)
    first = time.perf_counter() - started
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    times, loss = [], 0.0
    for _ in range(steps):
        started = time.perf_counter()
        loss = trainee.train(1)  # reads the loss, and so waits for the device
        times.append(time.perf_counter() - started)
    return {
        "tokens_per_second": setting.sequences * setting.length / statistics.median(times),
        "flops_per_token": flops_per_token(setting.model, setting.vocabulary, setting.length),
        "memory": torch.cuda.max_memory_allocated() if device.type == "cuda" else None,
        "loss": loss,
        "first_seconds": first,
    }


def trainer(setting: Setting, device: torch.device, steps: int) -> dict[str, Any]:
    """The same by the trainer itself: from shards, with guards, validation, checkpoints and the final weights.

    A checkpoint is made after half of the steps. Raises ``RuntimeError`` where disk or memory don't hold it.
    """
    from llm_core.train.main import main
    from tests.train.runs import write_shards

    batch = setting.sequences * setting.length
    state = 12 * parameter_count(setting.model, setting.vocabulary).total
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if shutil.disk_usage(folder).free < 3 * state:  # two checkpoints, and the final weights
            raise RuntimeError(f"{folder} has no room for checkpoints of {state / 1e9:.1f} GB; set TMPDIR")
        shards = write_shards(folder / "shards", 2 * batch, 8 * setting.length, setting.vocabulary)
        spec = setting.trainer(shards, folder / "work", checkpoint_every=steps // 2, keep=KeepSpec(last=1))
        changes = {"tokens": steps * batch, "validate_every": steps // 2, "validation_tokens": 4 * setting.length}
        spec = spec.model_copy(update={"training": spec.training.model_copy(update=changes)})
        spec.write(folder / "spec.json")
        code = main([str(folder / "spec.json")])
        if code:
            raise RuntimeError(f"the trainer ended with exit code {code}")
        lines = [json.loads(line) for line in (spec.work / "metrics.jsonl").read_text().splitlines()]
        timed = [line["seconds"] for line in lines if line["step"] > WARM_UP]
        summary = json.loads((spec.work / SUMMARY).read_text())
    return {
        "tokens_per_second": batch / statistics.median(timed),
        "flops_per_token": flops_per_token(setting.model, setting.vocabulary, setting.length),
        "memory": summary["peak_memory_bytes"] if device.type == "cuda" else None,
        "loss": lines[-1]["loss"],
        "first_seconds": sum(line["seconds"] for line in lines if line["step"] <= WARM_UP),
    }


def facts(device: torch.device) -> dict[str, Any]:
    """What the device is called, its bytes, compute capability; versions."""
    found: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda, "python": sys.version.split()[0]}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        capability = (properties.major, properties.minor)
        return {**found, "name": properties.name, "memory": properties.total_memory, "capability": capability}
    return {**found, "name": "CPU", "memory": 0, "capability": None}


def rates(device: torch.device, size: int) -> dict[str, Any]:
    """FLOP/s of square products of ``size`` in bf16 and fp8, bytes/s of a copy on the device and of one to the host."""
    from llm_core.train.snapshot import Snapshot

    a, b = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    flops, moved = 2 * size**3, 2 * a.nbytes
    found = {"bf16": flops / _seconds(lambda: a @ b, device), "copy": moved / _seconds(a.clone, device)}
    try:
        a8, b8 = a.to(torch.float8_e4m3fn), b.t().contiguous().to(torch.float8_e4m3fn)
        scale = torch.ones((), device=device)
        product = _seconds(
            lambda: torch._scaled_mm(a8, b8.t(), scale_a=scale, scale_b=scale, out_dtype=torch.bfloat16), device
        )
        found["fp8"] = flops / product
    except RuntimeError as error:  # a device without
        _told(f"fp8: {error}")
    snapshot = Snapshot(device)
    piece = Piece("a", tuple(a.shape), 0, a)

    def taken() -> None:
        snapshot.take([piece])
        snapshot.ready()

    return {**found, "to_host": a.nbytes / _seconds(taken, device)}


def _seconds(work: Callable[[], Any], device: torch.device, repeats: int = 10) -> float:
    for _ in range(3):
        work()
    _wait(device)
    started = time.perf_counter()
    for _ in range(repeats):
        work()
    _wait(device)
    return (time.perf_counter() - started) / repeats


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _told(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Do what the first argument, a JSON object, says."""
    order = json.loads(sys.argv[1])
    device = torch.device(order["device"])
    torch.manual_seed(0)
    kind = order["kind"]
    if kind == "facts":
        found = facts(device)
    elif kind == "rates":
        found = rates(device, order["size"])
    else:
        found = {"step": step, "trainer": trainer}[kind](Setting(**order["setting"]), device, order["steps"])
    print(json.dumps(found))


def order_of(kind: str, device: str, setting: Setting | None = None, **more: Any) -> str:
    """The argument of ``main``."""
    return json.dumps({"kind": kind, "device": device, "setting": None if setting is None else asdict(setting), **more})


if __name__ == "__main__":
    main()
