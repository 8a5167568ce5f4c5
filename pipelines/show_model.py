"""A model for the terminal: its layers, and its costs by formula."""

from dataclasses import dataclass
from itertools import groupby

from rich.console import Group
from rich.table import Table
from rich.text import Text

from llm_core.errors import PedigreeError
from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.model_presets import MODELS
from llm_core.model.accounting import (
    LayerCost,
    flops_per_token,
    kv_cache_bytes_per_token,
    layer_costs,
    mtp_layer,
    mtp_parameters,
    parameter_count,
    state_bytes,
)
from pipelines.experiments import experiment_file, open_experiment

VOCAB_SIZE = 65_536
"""The default for presets, which have no tokenizer."""

SEQUENCE_LENGTH = 2_048

LENGTHS = (2_048, 32_768)
"""Numbers of tokens for which the decoding state is shown."""


@dataclass(frozen=True)
class Described:
    """A model, and what else its costs depend on."""

    name: str
    spec: ModelSpec
    vocab_size: int
    sequence_length: int


def described(name: str, vocab_size: int | None, sequence_length: int | None) -> Described:
    """The model of an experiment, or a preset. Raises ``PedigreeError`` if ``name`` is neither.

    An experiment has priority over a preset of the same name: it knows the vocabulary and the sequence length.
    """
    try:
        experiment_file(name)
    except PedigreeError as error:
        if name in MODELS:
            spec = ModelSpec.model_validate({"preset": name})
            return Described(name, spec, vocab_size or VOCAB_SIZE, sequence_length or SEQUENCE_LENGTH)
        raise PedigreeError(f"{error}\nmodels by name: {', '.join(sorted(MODELS))}") from None
    experiment = open_experiment(name)
    return Described(
        experiment.name,
        experiment.model,
        vocab_size or experiment.tokenizer.vocab_size,
        sequence_length or experiment.base_training().sequence_length,
    )


def page(model: Described) -> Group:
    """Layers as a table, and the sums below."""
    return Group(table(model), *map(Text, sums(model)))


def table(model: Described) -> Table:
    """Layers, those that are alike in one row."""
    shown = Table(
        title=f"{model.name}: d_model {model.spec.d_model:,}, {model.spec.n_layers} layers, "
        f"vocabulary {model.vocab_size:,}",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    shown.add_column("layers", no_wrap=True)
    for name in ("mixer", "heads", "window", "position", "keys of", "feed-forward"):
        shown.add_column(name)
    for name in ("parameters", "cache per token"):
        shown.add_column(name, justify="right", no_wrap=True)
    costs = layer_costs(model.spec, model.sequence_length)
    rows = [
        (_cells(model.spec, layer, cost), layer.index) for layer, cost in zip(model.spec.layers, costs, strict=True)
    ]
    for cells, group in groupby(rows, key=lambda row: row[0]):
        numbers = [index for _, index in group]
        shown.add_row(f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]}–{numbers[-1]}", *cells)
    if model.spec.multi_token is not None:
        shown.add_row(*_mtp_cells(model.spec, model.spec.multi_token.depth))
    return shown


def _mtp_cells(spec: ModelSpec, depth: int) -> tuple[str, ...]:
    """The modules for multi-token prediction. They are all equal, and generation does not use them."""
    layer = mtp_layer(spec)
    module = layer_costs(spec)[-1]
    *cells, _, _ = _cells(spec, layer, module)
    name = "multi_token" if depth == 1 else f"multi_token 1–{depth}"
    return name, *cells, f"{mtp_parameters(spec) // depth:,}", ""


def _cells(spec: ModelSpec, layer: LayerSpec, cost: LayerCost) -> tuple[str, ...]:
    mixer = layer.mixer
    window, position = getattr(mixer, "window", None), mixer.position_of()
    return (
        mixer.kind,
        mixer.told(spec.d_model),
        f"{window:,}" if window else "",
        "" if position is None else position.kind,
        "" if layer.kv_from is None else f"layer {layer.kv_from}",
        "" if layer.feed_forward is None else layer.feed_forward.told(),
        f"{cost.parameters:,}",
        f"{2 * cost.mixer.cache_per_token:,} B" if cost.mixer.cache_per_token else "",
    )


def sums(model: Described) -> list[str]:
    """Parameters, FLOPs and decoding state, one line each."""
    spec, count = model.spec, parameter_count(model.spec, model.vocab_size)
    active = f", {count.active:,} of them per token" if count.inactive else ""
    tables = f", {count.tables:,} in value and n-gram embeddings" if count.tables else ""
    cached = kv_cache_bytes_per_token(spec)
    lengths = [length for length in LENGTHS if _reads(spec, length)]
    states = "; ".join(f"{state_bytes(spec, length) / 1e6:,.1f} MB after {length:,}" for length in lengths)
    flops = flops_per_token(spec, model.vocab_size, model.sequence_length)
    return [
        f"parameters       {count.total:,}{active}{tables}; {count.without_embeddings:,} without embeddings",
        f"training         {flops:.3g} FLOPs per token, in sequences of {model.sequence_length:,}",
        f"decoding state   {cached:,} bytes per token in bf16"
        + (f"; with windows and states {states} tokens" if states else ""),
    ]


def _reads(spec: ModelSpec, length: int) -> bool:
    """Whether the model can read sequences of ``length`` tokens."""
    longest = spec.longest()
    return longest is None or length <= longest
