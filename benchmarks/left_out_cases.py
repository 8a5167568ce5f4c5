"""A complete plug-in for each kind of component, as small as it can be, and the parts that can be left out of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A part of a plug-in: ``text`` in ``file``, which is replaced with ``instead`` to leave the part out."""

    name: str
    text: str
    instead: str = ""
    file: str = "spec"


@dataclass(frozen=True)
class Kind:
    """A kind of component, and a complete plug-in of that kind: the package ``own``, with the component ``mine``.

    ``target``: the object of its entry. ``files``: module of ``own`` → text. ``experiment``: YAML that names it.
    ``parts``: the parts of this kind only.
    """

    registry: str
    target: str
    files: dict[str, str]
    experiment: str
    parts: tuple[Part, ...]

    def all_parts(self) -> tuple[Part, ...]:
        """The parts that every kind has, and those of this kind."""
        module, _, name = self.target.partition(":")
        common = [
            Part("table of a registry", self.registry, f"{self.registry}X", "components"),
            Part("object of the entry", f":{name}", f":{name}X", "components"),
            Part("module of the entry", f"own.{module}:", f"own.{module}x:", "components"),
        ]
        text = self.files[module]
        if "kind: Literal" in text:
            base = text.partition(f"class {name}(")[2].partition(")")[0]
            common += [
                Part("kind", '    kind: Literal["mine"] = "mine"\n', "", module),
                Part(f"base class {base}", f"class {name}({base})", f"class {name}(Component)", module),
            ]
        if "load_object(" in text:
            address = text.partition('load_object("')[2].partition('"')[0]
            other, _, loaded = address.partition(":")
            common += [
                Part(f"file {other.partition('.')[2]}.py", address, f"own.nowhere:{loaded}", module),
                Part(f"object {loaded} in that file", address, f"{other}:{loaded}X", module),
            ]
        if '    """' in text:
            docstring = text.partition('"""')[2].partition('"""')[0]
            common.append(Part("docstring", f'    """{docstring}"""\n', "", module))
        return (*common, *self.parts)

    def written(self, without: Part | None = None) -> dict[str, str]:
        """Module → text, without a part."""
        texts = {"components": f'{self.registry} = {{"mine": "own.{self.target}"}}\n', **self.files}
        if without is not None:
            assert without.text in texts[without.file], (self.registry, without)
            texts[without.file] = texts[without.file].replace(without.text, without.instead, 1)
        return texts


COST = '''
    def cost(self, model, layer, length):
        """See ``MixerSpec``."""
        d = model.d_model
        return Cost(
            matmul_parameters=d * d,
            other_parameters=d * self.kernel,
            state=d * 2,
            saved=d,
            saved_fp32=d,
            matmul_outputs=d,
        )
'''

MIXER = Kind(
    registry="MIXERS",
    target="spec:Mine",
    files={
        "spec": '''
from typing import Literal

from llm_core.experiment.component import Component
from llm_core.experiment.costs import Cost
from llm_core.experiment.layers import MixerSpec
from llm_core.registry import load_object


class Mine(MixerSpec):
    """A convolution over the last three tokens."""

    kind: Literal["mine"] = "mine"
    kernel: int = 3
    """Tokens that a channel sees."""

    def module(self, model, layer):
        """See ``MixerSpec``."""
        return load_object("own.module:Mixer")(self, model, layer)
'''
        + COST,
        "module": '''
from torch import nn

from llm_core.model.context import Context
from llm_core.model.convolution import CausalConvolution, ConvolutionState


class Mixer(nn.Module):
    """output(convolution(x))."""

    residual_writers = ("output.weight",)

    def __init__(self, spec, model, layer):
        super().__init__()
        self.index, self.width, self.kernel = layer.index, model.d_model, spec.kernel
        self.convolution = CausalConvolution(model.d_model, spec.kernel, False)
        self.output = nn.Linear(model.d_model, model.d_model, bias=False)

    def forward(self, x_BTD, _kv, context):
        return self.output(self.convolution(x_BTD, context, context.layer_state(self.index))), None

    def new_state(self, room):
        return ConvolutionState(room, self.kernel, self.width)
''',
    },
    experiment="model: {d_model: 32, n_layers: 1, mixer: mine, feed_forward: {kind: swiglu, d_ff: 64}}",
    parts=(
        Part("method module", "def module(", "def modul("),
        Part("method cost", "def cost(", "def costs("),
        Part("other_parameters in cost", "            other_parameters=d * self.kernel,\n"),
        Part("matmul_outputs in cost", "            matmul_outputs=d,\n"),
        Part("saved in cost", "            saved=d,\n"),
        Part("state in cost", "            state=d * 2,\n"),
        Part("words of a setting", '    """Tokens that a channel sees."""\n'),
        Part("residual_writers", 'residual_writers = ("output.weight",)', "", "module"),
        Part("method forward", "def forward(", "def forwards(", "module"),
        Part("method new_state", "def new_state(", "def new_states(", "module"),
        Part("the state in forward", "context.layer_state(self.index)", "None", "module"),
        Part(
            "documents in forward",
            "convolution(x_BTD, context,",
            "convolution(x_BTD, Context(0, x_BTD.shape[1], None),",
            "module",
        ),
        Part(
            "causality in forward",
            "self.output(self.conv",
            "self.output(x_BTD.mean(1, keepdim=True) + self.conv",
            "module",
        ),
        Part("a lazy import of torch", "from typing import Literal", "import torch\nfrom typing import Literal"),
    ),
)

POSITION = Kind(
    registry="POSITIONS",
    target="spec:Mine",
    files={
        "spec": '''
from typing import ClassVar, Literal

from llm_core.experiment.component import Component
from llm_core.experiment.layers import PositionSpec
from llm_core.registry import load_object


class Mine(PositionSpec):
    """Keys lose score with their distance."""

    kind: Literal["mine"] = "mine"
    biases: ClassVar[bool] = True

    def module(self, n_heads, channels):
        """See ``PositionSpec``."""
        return load_object("own.module:Distance")(self, n_heads, channels)
''',
        "module": '''
import torch

from llm_core.model.positions.position import Position


class Distance(Position):
    """Half a unit of score per token."""

    def __init__(self, spec, n_heads, channels):
        super().__init__(spec, n_heads, channels)
        self.n_heads = n_heads

    def slopes(self, device):
        return torch.full((self.n_heads,), 0.5, device=device)
''',
    },
    experiment="model: {d_model: 32, n_layers: 1, mixer: {kind: attention, n_heads: 2, position: mine}, "
    "feed_forward: {kind: swiglu, d_ff: 64}}",
    parts=(
        Part("method module", "def module(", "def modul("),
        Part("biases", "    biases: ClassVar[bool] = True\n"),
        Part("base class Position", "class Distance(Position)", "class Distance(torch.nn.Module)", "module"),
    ),
)

ABSOLUTE_POSITION = Kind(
    registry="ABSOLUTE_POSITIONS",
    target="spec:Mine",
    files={
        "spec": '''
from typing import Literal

from llm_core.experiment.component import Component
from llm_core.experiment.layers import AbsolutePositionSpec
from llm_core.registry import load_object


class Mine(AbsolutePositionSpec):
    """One vector for each of 64 positions."""

    kind: Literal["mine"] = "mine"

    def longest(self):
        """See ``AbsolutePositionSpec``."""
        return 64

    def module(self, d_model, size):
        """See ``AbsolutePositionSpec``."""
        return load_object("own.module:Vectors")(d_model)

    def parameters(self, d_model):
        """See ``AbsolutePositionSpec``."""
        return 64 * d_model
''',
        "module": '''
from torch import nn


class Vectors(nn.Module):
    """A table."""

    def __init__(self, d_model):
        super().__init__()
        self.embedding = nn.Embedding(64, d_model)

    def forward(self, positions):
        return self.embedding(positions)
''',
    },
    experiment="model: {d_model: 32, n_layers: 1, mixer: {kind: attention, n_heads: 2, position: nope}, "
    "absolute_position: mine, feed_forward: {kind: swiglu, d_ff: 64}}\n"
    "sampling: {prompts: [The], max_new_tokens: 8}",
    parts=(
        Part("method module", "def module(", "def modul("),
        Part("method parameters", "def parameters(", "def parameter("),
        Part("method longest", "def longest(", "def long("),
    ),
)

NORM = Kind(
    registry="NORMS",
    target="spec:Mine",
    files={
        "spec": '''
from typing import Literal

from llm_core.experiment.component import Component
from llm_core.experiment.layers import NormSpec
from llm_core.registry import load_object


class Mine(NormSpec):
    """A root mean square of 1, without a weight's square."""

    kind: Literal["mine"] = "mine"

    def module(self, dim, bias):
        """See ``NormSpec``."""
        return load_object("own.module:Norm")(dim, self.eps)

    def parameters(self, dim, bias):
        """See ``NormSpec``."""
        return dim
''',
        "module": '''
import torch
from torch import nn


class Norm(nn.Module):
    """x / rms(x) · weight."""

    def __init__(self, dim, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.empty(dim)), eps

    def forward(self, x):
        scale = (x.float().square().mean(-1, keepdim=True) + self.eps).rsqrt()
        return (x * scale * self.weight).to(x.dtype)
''',
    },
    experiment="model: {d_model: 32, n_layers: 1, norm: mine, mixer: {kind: attention, n_heads: 2}, "
    "feed_forward: {kind: swiglu, d_ff: 64}}",
    parts=(
        Part("method module", "def module(", "def modul("),
        Part("method parameters", "def parameters(", "def parameter("),
        Part("the number of parameters", "return dim", "return 0"),
    ),
)

FEED_FORWARD = Kind(
    registry="FEED_FORWARDS",
    target="spec:Mine",
    files={
        "spec": '''
from typing import Literal

from llm_core.experiment.component import Component
from llm_core.experiment.costs import Cost
from llm_core.experiment.layers import FeedForwardSpec, Width
from llm_core.registry import load_object


class Mine(FeedForwardSpec):
    """Two matrices with SiLU between them."""

    kind: Literal["mine"] = "mine"
    d_ff: Width
    """Hidden channels."""

    def module(self, model, layer):
        """See ``FeedForwardSpec``."""
        return load_object("own.module:FeedForward")(model.d_model, self.d_ff)

    def cost(self, model, layer, length):
        """See ``FeedForwardSpec``."""
        d, f = model.d_model, self.d_ff
        return Cost(matmul_parameters=2 * d * f, saved=d + 2 * f, matmul_outputs=f + d)
''',
        "module": '''
from torch import nn
from torch.nn import functional


class FeedForward(nn.Module):
    """down(silu(up(x)))."""

    residual_writers = ("down.weight",)

    def __init__(self, d_model, d_ff):
        super().__init__()
        self.up = nn.Linear(d_model, d_ff, bias=False)
        self.down = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x_BTD):
        return self.down(functional.silu(self.up(x_BTD)))
''',
    },
    experiment="model: {d_model: 32, n_layers: 1, mixer: {kind: attention, n_heads: 2}, "
    "feed_forward: {kind: mine, d_ff: 64}}",
    parts=(
        Part("method module", "def module(", "def modul("),
        Part("method cost", "def cost(", "def costs("),
        Part("matmul_parameters in cost", "matmul_parameters=2 * d * f, "),
        Part("words of a setting", '    """Hidden channels."""\n'),
        Part("residual_writers", 'residual_writers = ("down.weight",)', "", "module"),
    ),
)

OPTIMIZER = Kind(
    registry="OPTIMIZERS",
    target="spec:Mine",
    files={
        "spec": '''
from typing import Literal

from llm_core.experiment.component import Component
from llm_core.experiment.optimization import OptimizerSpec
from llm_core.registry import load_object


class Mine(OptimizerSpec):
    """AdamW without a decay of its means."""

    kind: Literal["mine"] = "mine"

    def build(self, model, device, precision):
        """See ``OptimizerSpec``."""
        return load_object("own.module:optimizer")(self, model)

    def moments(self, parameters, matrices):
        """See ``OptimizerSpec``."""
        return 2 * parameters
''',
        "module": """
import torch

from llm_core.train.parameter_groups import parameter_groups


def optimizer(spec, model):
    return torch.optim.AdamW(parameter_groups(model, spec, "AdamW"), lr=spec.lr, fused=True)
""",
    },
    experiment="training: {sequence_length: 32, batch_tokens: 128, tokens: 2560, precision: fp32, "
    "optimizer: {kind: mine, lr: 1e-2}}",
    parts=(
        Part("method build", "def build(", "def built("),
        Part("method moments", "def moments(", "def moment("),
        Part("the number of moments", "return 2 * parameters", "return parameters"),
        Part("parameter groups", 'parameter_groups(model, spec, "AdamW")', "model.parameters()", "module"),
        Part("heed for found_inf", ", fused=True", ", foreach=False", "module"),
    ),
)

SCHEDULE = Kind(
    registry="SCHEDULES",
    target="spec:Mine",
    files={
        "spec": '''
from typing import Literal

from llm_core.experiment.component import Component
from llm_core.experiment.optimization import ScheduleSpec


class Mine(ScheduleSpec):
    """Half of the rate after the warm-up."""

    kind: Literal["mine"] = "mine"

    def share(self, step, steps):
        """See ``ScheduleSpec``."""
        return self.warmup_share(step) if step < self.warmup_steps else 0.5
'''
    },
    experiment="training: {sequence_length: 32, batch_tokens: 128, tokens: 2560, precision: fp32, "
    "optimizer: {lr: 1e-2}, schedule: mine}",
    parts=(
        Part("method share", "def share(", "def shares("),
        Part("the warm-up", "self.warmup_share(step) if step < self.warmup_steps else 0.5", "0.5"),
        Part("a rate above 0", "else 0.5", "else 0.5 - step / steps"),
    ),
)

SOURCE = Kind(
    registry="SOURCES",
    target="spec:Mine",
    files={
        "spec": '''
from typing import Literal

from llm_core.experiment.component import Component
from llm_core.experiment.sources import SourceSpec
from llm_core.registry import load_object


class Mine(SourceSpec):
    """Numbers as texts."""

    kind: Literal["mine"] = "mine"
    name: str = "numbers"
    """What the source is called."""
    count: int = 50
    """How many documents."""

    def reader(self):
        """See ``SourceSpec``."""
        return load_object("own.reader:Reader")(self)
''',
        "reader": '''
from llm_core.data.records import Document
from llm_core.data.sources.reader import SourceReader
from llm_core.data.sources.unit_parts import unit_name, write_unit
from llm_core.graph.part import PartTask


class Reader(SourceReader):
    """All numbers are one task."""

    def __init__(self, spec):
        self.spec = spec

    def source_digests(self):
        return {"numbers": "1"}

    def tasks(self, documents_per_part):
        config = {"name": self.spec.name, "count": self.spec.count, "documents_per_part": documents_per_part}
        return [PartTask(unit_name(self.spec.name, "all"), written, {}, config)]


def written(work, name, count, documents_per_part):
    """The parts of all numbers."""
    texts = [f"The number {number} comes after {number - 1}, as every child knows." for number in range(count)]
    records = [Document("all", row, text, len(text), None) for row, text in enumerate(texts)]
    return write_unit(work.name, work.out, name, records, documents_per_part)
''',
    },
    experiment="raw: {sources: [{kind: mine}]}",
    parts=(
        Part("method reader", "def reader(", "def read("),
        Part("default of name", ' = "numbers"'),
        Part("words of a setting", '    """How many documents."""\n'),
        Part("base class SourceReader", "class Reader(SourceReader)", "class Reader", "reader"),
        Part("method source_digests", "def source_digests(", "def digests(", "reader"),
        Part("method tasks", "def tasks(", "def task(", "reader"),
        Part(
            "a function that a worker can import", "written, {}, config", "lambda work, **_: {}, {}, config", "reader"
        ),
        Part("statistics of a task", "    return write_unit(", "    write_unit(", "reader"),
    ),
)

RULE = Kind(
    registry="RULES",
    target="rules:mine",
    files={
        "rules": '''
import polars as pl

from llm_core.data.rules.measures import share, text


def mine() -> pl.Expr:
    """The share of characters that are exclamation marks."""
    return share(text().str.count_matches("!"), text().str.len_chars())
'''
    },
    experiment="cleaning: {rules: {mine: {max: 0.5}}}",
    parts=(
        Part("a function without arguments", "def mine()", "def mine(column)", "rules"),
        Part("the result", "    return share(", "    share(", "rules"),
        Part(
            "a number for every text",
            'share(text().str.count_matches("!"), text().str.len_chars())',
            'text().str.count_matches("!") / text().str.len_chars()',
            "rules",
        ),
    ),
)

JUDGE = Kind(
    registry="JUDGES",
    target="judges:mine",
    files={
        "judges": '''
import math


def mine(question, answer, nats):
    """Likely answers are better."""
    return math.exp(max(sum(nats), -700.0))
'''
    },
    experiment="test_time_compute: {judges: [mine]}",
    parts=(
        Part("the result", "return math", "math", "judges"),
        Part("three arguments", "answer, nats", "nats", "judges"),
        Part("a score for every answer", "max(sum(nats), -700.0)", "-sum(nats)", "judges"),
    ),
)

INSTRUCTION_RULE = Kind(
    registry="INSTRUCTION_RULES",
    target="follows:mine",
    files={
        "follows": '''
def mine(answer, *, words: int):
    """At most so many words."""
    return len(answer.split()) <= words
'''
    },
    experiment=(
        "evaluation: {suites: [{kind: instructions, name: asked, path: asked.jsonl, more_rules: [mine], "
        "max_new_tokens: 8}]}"
    ),
    parts=(
        Part("a named argument", "answer, *, words: int", "answer, words", "follows"),
        Part("a verdict for every answer", "len(answer.split())", "len(answer.split()[-2])", "follows"),
    ),
)

LINE_RULE = Kind(
    registry="LINE_RULES",
    target="rules:mine",
    files=RULE.files,
    experiment="cleaning: {rules: {mine: {max: 0.5}}}",
    parts=RULE.parts,
)

REDACTION = Kind(
    registry="REDACTIONS",
    target="spec:Mine",
    files={
        "spec": '''
from typing import Literal

from llm_core.experiment.cleaning import RedactionSpec
from llm_core.experiment.component import Component
from llm_core.registry import load_object


class Mine(RedactionSpec):
    """Runs of exclamation marks become one."""

    kind: Literal["mine"] = "mine"

    def redacted(self, column):
        """See ``RedactionSpec``."""
        return load_object("own.texts:calmed")(column)
''',
        "texts": """
def calmed(column):
    counts = column.str.count_matches("!!+").cast(int)
    return column.str.replace_all("!!+", "!"), counts
""",
    },
    experiment="cleaning: {redactions: [mine]}",
    parts=(
        Part("method redacted", "def redacted(", "def redact("),
        Part("the counts", ", counts\n", "\n", "texts"),
        Part("once is enough", 'all("!!+"', 'all("!!"', "texts"),
    ),
)

PACKING = Kind(
    registry="PACKINGS",
    target="packing:Mine",
    files={
        "packing": '''
import numpy as np

from llm_core.tokens.packing import Pieces


class Mine:
    """Windows of T targets from the end of the stream."""

    windows = True

    def __init__(self, reader, sequence_length):
        self.length, self.tokens = sequence_length, reader.tokens
        self.rows = reader.tokens // sequence_length
        self.start = reader.start + reader.tokens % sequence_length

    def pieces(self, rows):
        """See ``Packing``."""
        ones = np.ones(len(rows), dtype=np.int64)
        return Pieces(self.start + rows * self.length, ones * self.length, ones)

    def rows_with(self, start, stop):
        """See ``Packing``."""
        first = max(0, start - self.start) // self.length
        last = min(self.rows, -(-(stop - self.start) // self.length))
        return np.arange(first, max(first, last), dtype=np.int64)

    def stats(self):
        """See ``Packing``."""
        return {"rows": self.rows, "dropped_tokens": self.tokens - self.rows * self.length}
'''
    },
    experiment="training: {sequence_length: 32, batch_tokens: 128, tokens: 2560, precision: fp32, "
    "optimizer: {lr: 1e-2}, packing: mine}",
    parts=(
        Part("windows", "    windows = True\n", "", "packing"),
        Part("method pieces", "def pieces(", "def piece(", "packing"),
        Part("method rows_with", "def rows_with(", "def rows_of(", "packing"),
        Part("method stats", "def stats(", "def statistics(", "packing"),
        Part("rows", "self.rows = reader", "self.count = reader", "packing"),
        Part("dropped_tokens", ', "dropped_tokens": self.tokens - self.rows * self.length', "", "packing"),
    ),
)

HF_FAMILY = Kind(
    registry="HF_FAMILIES",
    target="family:MINE",
    files={
        "family": """
from dataclasses import replace

from llm_core.model.hf.llama import LLAMA

MINE = replace(LLAMA, name="mine", always={**LLAMA.always, "embedding_scale": 2.0})
"""
    },
    experiment="sampling: {max_new_tokens: 8}",
    parts=(
        Part("name", 'name="mine", ', "", "family"),
        Part("a Family", "MINE = replace(LLAMA", "MINE = dict(family=LLAMA", "family"),
        Part("block", 'name="mine"', 'block=None, name="mine"', "family"),
        Part("parts", 'name="mine"', 'parts=(), name="mine"', "family"),
        Part("a tensor outside the blocks", 'name="mine"', 'outer=LLAMA.outer[:1], name="mine"', "family"),
        Part("a head", 'name="mine"', 'head="", name="mine"', "family"),
    ),
)

CALLBACK = Kind(
    registry="CALLBACKS",
    target="spec:Mine",
    files={
        "spec": '''
from typing import Literal

from llm_core.experiment.callbacks import CallbackSpec
from llm_core.experiment.component import Component
from llm_core.registry import load_object


class Mine(CallbackSpec):
    """The norm of the weights."""

    kind: Literal["mine"] = "mine"

    def build(self):
        """See ``CallbackSpec``."""
        return load_object("own.callback:Norm")()
''',
        "callback": '''
from llm_core.train.callbacks.base import Callback


class Norm(Callback):
    """Adds the norm of the embedding to each step."""

    def after_step(self, run):
        return {"embedding_norm": run.model.embedding.weight.detach().norm()}
''',
    },
    experiment="tracking: {callbacks: {mine: {}}}",
    parts=(
        Part("method build", "def build(", "def built("),
        Part("base class Callback", "class Norm(Callback)", "class Norm", "callback"),
        Part("the result of after_step", "        return {", "        {", "callback"),
        Part("a copy", "weight.detach().norm()", "weight.data.mul_(1.01).norm()", "callback"),
    ),
)

LAUNCHER = Kind(
    registry="LAUNCHERS",
    target="spec:Mine",
    files={
        "spec": '''
from typing import Literal

from llm_core.experiment.component import Component
from llm_core.experiment.launchers import LauncherSpec
from llm_core.registry import load_object


class Mine(LauncherSpec):
    """In this process."""

    kind: Literal["mine"] = "mine"
    queue: str = "long"
    """The queue's name."""

    def launch(self, spec, ranks, runtime):
        """See ``LauncherSpec``."""
        load_object("own.launch:launch")(spec)
''',
        "launch": """
from llm_core.train.main import main


def launch(spec):
    path = spec.work / "spec.json"
    spec.write(path)
    assert main([str(path)]) == 0
""",
    },
    experiment="compute: {target: mine}",
    parts=(
        Part("method launch", "def launch(", "def start("),
        Part("words of a setting", '    """The queue\'s name."""\n'),
    ),
)

KINDS = {
    "mixer": MIXER,
    "position": POSITION,
    "absolute position": ABSOLUTE_POSITION,
    "norm": NORM,
    "feed-forward": FEED_FORWARD,
    "optimizer": OPTIMIZER,
    "schedule": SCHEDULE,
    "source": SOURCE,
    "rule": RULE,
    "line rule": LINE_RULE,
    "judge": JUDGE,
    "instruction rule": INSTRUCTION_RULE,
    "redaction": REDACTION,
    "packing": PACKING,
    "Hugging Face family": HF_FAMILY,
    "callback": CALLBACK,
    "launcher": LAUNCHER,
}
