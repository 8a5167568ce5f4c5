import math
import sys
from dataclasses import asdict
from pathlib import Path
from subprocess import run
from typing import Any

import pytest

from assets.study import launched_run, study_ladder
from llm_core.errors import PedigreeError
from llm_core.experiment.component import over
from llm_core.experiment.continuation import LongContextSpec
from llm_core.experiment.experiment import Experiment
from llm_core.experiment.load import load_experiment
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.runtime import ComputeSpec
from llm_core.experiment.training import SequencePhase, SuperpositionSpec, TrainingSpec
from llm_core.train import preflight as module
from llm_core.train.device_memory import Memory, estimate_memory
from llm_core.train.hardware import Hardware
from llm_core.train.launchers.local import Local
from llm_core.train.matmul_rates import MatmulRates
from llm_core.train.optimizers.muon.spec import Muon
from llm_core.train.preflight import preflight, trainer_spec
from llm_core.train.spec import read_spec
from llm_core.train.this_machine import hardware_of

CPU = Hardware("CPU with 4 cores", 1, 100_000_000_000, None, device_type="cpu")
H100X8 = hardware_of(ComputeSpec(target="h100x8"))
FOLDER = Path(__file__).parents[2] / "pipelines" / "experiments"


@pytest.fixture(scope="module")
def one_billion() -> Experiment:
    return load_experiment(FOLDER / "one_billion.yaml")


def changed(experiment: Experiment, **sections: dict[str, Any]) -> Experiment:
    """The experiment with other values of fields; those of the model go over its components."""
    updates = {
        name: ModelSpec.model_validate(over(experiment.model.model_dump(mode="json"), values))
        if name == "model"
        else getattr(experiment, name).model_copy(update=values)
        for name, values in sections.items()
    }
    return experiment.model_copy(update=updates)


def test_the_full_run(one_billion: Experiment) -> None:
    report = preflight(one_billion)
    assert 1.0e9 < report.parameters.total < 1.2e9
    assert (report.ranks, report.steps, report.batch_tokens) == (8, 19_073, 1 << 20)
    assert report.micro_batch * report.accumulation_steps * report.ranks == report.batch_sequences == 512
    assert report.command.endswith("=100 torchrun --standalone --nproc-per-node 8 -m llm_core.train spec.json")
    # By hand: 1.02B parameters all multiply; four of sixteen layers see 2,048 tokens, the others 512.
    per_token = 6 * 1_023_479_296 + 12 * 2048 * (4 * 2048 + 12 * 512)
    assert report.flops_per_token == pytest.approx(per_token, rel=1e-3)
    assert report.hours == pytest.approx(20e9 * per_token / (8 * 989e12 * 0.4) / 3600, rel=1e-3)
    assert report.cost == pytest.approx(report.hours * 8 * 3.0)
    assert report.memory.total < report.usable_memory < report.device_memory == 80_000_000_000


def test_shorter_sequences_at_first_take_less_work(one_billion: Experiment) -> None:
    phases = tuple(SequencePhase(from_step=step, sequence_length=length) for step, length in ((0, 512), (9_536, 2048)))
    report = preflight(changed(one_billion, training={"sequence_schedule": phases}))
    saved = preflight(one_billion).flops_per_token - report.flops_per_token
    assert saved == 12 * 4 * 2048 * (2048 - 1280), "windows of 512 see the same"


def test_a_bag_of_tokens_takes_the_work_of_one(one_billion: Experiment) -> None:
    plain = preflight(one_billion)
    bags = preflight(changed(one_billion, training={"superposition": SuperpositionSpec(tokens=4, steps=4_000)}))
    assert bags.tokens == plain.tokens
    assert bags.flops == plain.flops - plain.flops_per_token * 4_000 * (1 << 20) * 3 // 4
    assert bags.hours == pytest.approx(plain.hours * bags.flops / plain.flops)
    assert bags.tokens_per_second == pytest.approx(bags.tokens / bags.hours / 3600)


def test_a_longer_context_that_cannot_run_is_refused_before_the_full_run(one_billion: Experiment) -> None:
    def longer(**fields: Any) -> Experiment:
        length = {"sequence_length": 8192, "batch_tokens": 8 * 8192, "tokens": 1 << 30, **fields}
        section = LongContextSpec(training=TrainingSpec(**length))
        return one_billion.model_copy(update={"long_context": section})

    with pytest.raises(PedigreeError, match=r"long_context\.training\.batch_tokens 32768: its 4 sequences"):
        preflight(longer(batch_tokens=4 * 8192))
    with pytest.raises(PedigreeError, match=r"one_billion's long_context_model does not fit: .* it would with compute"):
        preflight(longer(batch_tokens=64 * 8192))
    small = longer(batch_tokens=64 * 8192)
    compute = small.compute.model_copy(update={"micro_batch": 1})
    assert preflight(small.model_copy(update={"compute": compute})).steps == preflight(one_billion).steps


def test_a_specification_for_a_bare_machine(one_billion: Experiment, tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    trainer_spec(one_billion, Path("token_shards"), Path("run")).write(path)
    spec = read_spec(path)
    assert (spec.model, spec.training, spec.seed) == (one_billion.model, one_billion.training, one_billion.seed)
    assert (spec.vocab_size, spec.name) == (one_billion.tokenizer.vocab_size, "one_billion")
    assert (spec.shards, spec.work) == (tmp_path / "token_shards", tmp_path / "run")
    assert (spec.micro_batch, spec.parallel) == (one_billion.compute.micro_batch, one_billion.compute.parallel)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_torch_does_not_take_is_refused(one_billion: Experiment, seed: int, tmp_path: Path) -> None:
    text = trainer_spec(one_billion, Path("shards"), Path("run")).model_dump_json()
    (tmp_path / "spec.json").write_text(text.replace(f'"seed":{one_billion.seed}', f'"seed":{seed}'))
    with pytest.raises(PedigreeError, match=r"spec\.json: seed: "):
        read_spec(tmp_path / "spec.json")


def test_memory_by_hand(one_billion: Experiment) -> None:
    memory = preflight(one_billion).memory
    numbers = 1_023_479_296
    assert (memory.weights, memory.gradients, memory.optimizer) == (4 * numbers, 4 * numbers, 8 * numbers)
    assert memory.autocast_copies == pytest.approx(2 * numbers, rel=1e-3)
    assert (memory.gathered, memory.snapshot) == (0, 0)
    assert memory.loss == 1024 * 32_768 * 10 + 2048 * (8 * 2048 * 2 + 4 * 32_768)
    assert memory.total == sum(asdict(memory).values())
    assert preflight(one_billion).host_snapshot == 12 * numbers


def test_the_proxy_has_its_size() -> None:
    report = preflight(load_experiment(FOLDER / "proxy.yaml"))
    assert report.parameters.total == pytest.approx(0.69e9, rel=0.005)
    assert report.tokens == pytest.approx(1e9, rel=0.001)


@pytest.mark.parametrize("name", ["proxy", "one_billion"])
def test_the_large_experiments_have_the_whole_graph(name: str) -> None:
    experiment = load_experiment(FOLDER / f"{name}.yaml")
    assert experiment.name == name
    share = study_ladder(experiment).flops / launched_run(experiment).flops
    assert 0.02 < share < {"proxy": 0.25, "one_billion": 0.1}[name]
    (source,) = experiment.raw.sources
    assert source.kind == "hugging_face"
    assert experiment.training.tokens < source.max_tokens < 2 * experiment.training.tokens


def needs(experiment: Experiment, ranks: int = 8, **compute: Any) -> Memory:
    return estimate_memory(experiment, experiment.compute.model_copy(update=compute), ranks, H100X8)


def test_fsdp2_shards_what_ddp_repeats(one_billion: Experiment) -> None:
    ddp, fsdp2 = (needs(one_billion, parallel=parallel) for parallel in ("ddp", "fsdp2"))
    assert fsdp2.weights == math.ceil(ddp.weights / 8)
    assert fsdp2.optimizer == 2 * fsdp2.weights
    assert fsdp2.gradients == fsdp2.weights + ddp.gradients, "accumulated whole"
    assert (fsdp2.activations, fsdp2.loss) == (ddp.activations, ddp.loss)
    assert needs(one_billion, ranks=1, parallel="fsdp2") == needs(one_billion, ranks=1)


def test_what_fsdp2_holds_whole(one_billion: Experiment) -> None:
    """Blocks in bf16, all of them or two; embedding and final norm in fp32; only the head is cast once more."""
    always, never, auto = (
        needs(one_billion, parallel="fsdp2", reshard_after_forward=setting) for setting in ("always", "never", "auto")
    )
    outside = (32_768 + 1) * 2048
    assert never.gathered == 4 * outside + 2 * (1_023_479_296 - outside)
    assert always.gathered < never.gathered / 4
    assert auto == never, "2 GB stay where there are 80"
    assert always.autocast_copies == 2 * 32_768 * 2048


def test_muon_has_one_moment_of_matrices(one_billion: Experiment) -> None:
    optimizer = Muon(lr=0.02)
    muon = needs(changed(one_billion, training={"optimizer": optimizer}))
    adamw = needs(one_billion)
    assert adamw.optimizer - muon.optimizer == pytest.approx(4 * (1_023_479_296 - 32_768 * 2048), rel=1e-3)


def test_recomputation_trades_memory(one_billion: Experiment) -> None:
    settings = [("none", None), ("selective", None), ("every_nth", 2), ("full", None)]
    activations = [
        needs(one_billion, activation_checkpointing=mode, activation_checkpointing_every=every).activations
        for mode, every in settings
    ]
    none, selective, every_second, full = activations
    assert full < selective < none
    assert full < every_second < none


def test_a_cpu_also_holds_what_checkpoints_are_written_from(one_billion: Experiment) -> None:
    machine = Hardware("CPU with 64 cores", 1, 10**12, None, device_type="cpu")
    assert estimate_memory(one_billion, one_billion.compute, 2, machine).snapshot == 6 * 1_023_479_296


def test_too_large_a_micro_batch_is_refused_with_one_that_fits(one_billion: Experiment) -> None:
    with pytest.raises(PedigreeError, match=r"does not fit.*compute\.micro_batch 64 → 8") as caught:
        preflight(changed(one_billion, compute={"micro_batch": 64}))
    assert "activations" in str(caught.value)
    preflight(changed(one_billion, compute={"micro_batch": 8}))


def test_what_the_refusal_proposes_fits(one_billion: Experiment) -> None:
    long = changed(one_billion, training={"sequence_length": 32_768}, compute={"micro_batch": 4})
    with pytest.raises(PedigreeError, match=r"micro_batch 4 → 1, compute\.activation_checkpointing none → selective"):
        preflight(long)
    preflight(changed(long, compute={"micro_batch": 1, "activation_checkpointing": "selective"}))
    with pytest.raises(PedigreeError, match="does not fit"):
        preflight(changed(long, compute={"micro_batch": 2, "activation_checkpointing": "selective"}))


def test_fp8_and_backends_that_are_not_there_are_refused(
    one_billion: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    fp8 = changed(one_billion, training={"precision": "fp8"})
    preflight(fp8)
    with pytest.raises(PedigreeError, match=r"attention_backend: sdpa has no softcap of attention"):
        preflight(changed(one_billion, model={"mixer": {"softcap": 50.0}}, compute={"attention_backend": "sdpa"}))
    heads, width = {"n_heads": 12, "n_kv_heads": 12}, {"d_ff": 5400}
    with pytest.raises(PedigreeError, match="precision fp8: none of the 64 linear layers"):
        preflight(changed(fp8, model={"d_model": 1992, "mixer": heads, "feed_forward": width}))
    monkeypatch.setattr(module, "hardware_of", lambda _: CPU)
    with pytest.raises(PedigreeError, match="precision fp8: CPU with 4 cores multiplies no 8-bit floats"):
        preflight(changed(fp8, compute={"target": Local()}))


def test_a_model_that_can_not_fit_at_all_is_refused(one_billion: Experiment) -> None:
    huge = changed(one_billion, model={"d_model": 16_384, "feed_forward": {"d_ff": 45_056}, "n_layers": 80})
    with pytest.raises(
        PedigreeError, match=r"turn down model\.d_model, feed_forward\.d_ff or n_layers, from .* billion"
    ):
        preflight(huge)


def test_a_batch_that_the_ranks_can_not_share_is_refused(one_billion: Experiment) -> None:
    with pytest.raises(PedigreeError, match=r"500 sequences .* 8 ranks; 1015808 or 1032192 can"):
        preflight(changed(one_billion, training={"batch_tokens": 500 * 2048}))


def test_more_ranks_than_gpus_are_refused(one_billion: Experiment) -> None:
    with pytest.raises(PedigreeError, match=r"compute\.ranks 16: .* has 8 devices"):
        preflight(changed(one_billion, compute={"ranks": 16}))


def test_a_cpu_has_memory_and_no_known_peak(one_billion: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "hardware_of", lambda _: CPU)
    report = preflight(changed(one_billion, compute={"target": Local()}))
    assert (report.ranks, report.hours, report.cost, report.tokens_per_second) == (1, None, None, None)
    assert report.flops > 0
    with pytest.raises(PedigreeError, match=r"46\.0 GB are usable"):  # two ranks share the machine's memory
        preflight(changed(one_billion, compute={"target": Local(), "ranks": 2}))


def planned(experiment: Experiment, device: Any, **compute: Any) -> Experiment:
    fields = {**experiment.compute.model_dump(), "target": "local", "device": device, **compute}
    return experiment.model_copy(update={"compute": ComputeSpec.model_validate(fields)})


def test_h100x8_is_eight_devices_of_the_table(one_billion: Experiment) -> None:
    assert preflight(planned(one_billion, "H100", devices=8)) == preflight(one_billion)


def test_one_card_of_32_gb_by_hand(one_billion: Experiment) -> None:
    with pytest.raises(PedigreeError, match=r"on 1 × RTX PRO 4500 \(32 GB\) 29\.4 GB are usable .* it would with"):
        preflight(planned(one_billion, "RTX PRO 4500"))
    card = {"name": "Card", "memory_gb": 32, "tflops_bf16": 200}
    report = preflight(planned(one_billion, card, micro_batch=1, activation_checkpointing="full"))
    assert (report.ranks, report.usable_memory) == (1, 29_440_000_000)
    per_token = 6 * 1_023_479_296 + 12 * 2048 * (4 * 2048 + 12 * 512)
    assert report.hours == pytest.approx(20e9 * per_token / (200e12 * 0.4) / 3600, rel=1e-3)


def test_fp32_is_priced_by_the_speed_of_fp32(one_billion: Experiment) -> None:
    bf16 = planned(one_billion, "H100", devices=8)
    fp32 = changed(bf16, training={"precision": "fp32"}, compute={"micro_batch": 1})
    assert preflight(fp32).hours == pytest.approx(preflight(bf16).hours * 989 / 67)
    unknown = planned(fp32, {"name": "Card", "memory_gb": 80, "tflops_bf16": 500})
    assert (preflight(unknown).hours, preflight(unknown).cost) == (None, None)


def test_advice_about_the_precision_is_part_of_it(one_billion: Experiment) -> None:
    slow = MatmulRates(fp32=67e12, bf16=989e12)
    fp32 = changed(one_billion, training={"precision": "fp32"}, compute={"micro_batch": 1})
    assert "write precision: bf16" in preflight(fp32, slow).advice[0]
    assert preflight(one_billion, slow).advice == preflight(fp32).advice == ()


@pytest.mark.parametrize("compute", ["{}", "{target: local, device: B200, devices: 4}"])
def test_a_planned_machine_needs_no_torch(tmp_path: Path, compute: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: {FOLDER / 'one_billion'}\ncompute: {compute}\n")
    code = (
        "import sys; from pathlib import Path\n"
        "from llm_core.experiment.load import load_experiment\n"
        "from llm_core.train.preflight import preflight\n"
        "preflight(load_experiment(Path(sys.argv[1])))\n"
        "assert 'torch' not in sys.modules"
    )
    run([sys.executable, "-c", code, str(path)], check=True)


def test_experts_of_odd_widths_are_refused_on_gpus(one_billion: Experiment) -> None:
    mixture = {"kind": "moe", "experts": 8, "top_k": 2, "d_ff": 1020}
    with pytest.raises(PedigreeError, match=r"model: feed_forward\.d_ff 1020: .* multiple of 8 on a GPU; 1024 is one"):
        preflight(changed(one_billion, model={"feed_forward": mixture}))
    assert preflight(changed(one_billion, model={"feed_forward": {**mixture, "d_ff": 1024}}))
