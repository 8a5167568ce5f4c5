"""What types every preset has on a GPU, without one: `python -m benchmarks.fake_cuda`.

Autocast of CUDA is not that of a CPU: it has a list of its own of what is done in fp32 (norms, sums, softmax, powers).
Fake tensors of a CUDA device have no numbers, but torch's dispatcher treats them as it would on a GPU. So this runs the
forward pass and the loss in training and evaluation, a step of generation, and the backward pass; it looks at the types
that matter, and adds up what the forward pass keeps for the backward pass, beside what `llm_core.model.accounting`
says. Nothing is compiled.

The table goes to standard output. The command ends with 1 where a type is wrong.
"""

import argparse
import ctypes
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.nn.attention.flex_attention import flex_attention

from llm_core.errors import PedigreeError
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.model_presets import MODELS
from llm_core.model import flex
from llm_core.model.accounting import activation_bytes_per_token
from llm_core.model.backends import choose_backend
from llm_core.model.block import Block
from llm_core.model.build import build_model
from llm_core.model.decoder import Decoder
from llm_core.model.mixers.attention import module as attention
from llm_core.model.mixers.mamba2.module import GatedNorm
from llm_core.model.mixers.mla import module as mla
from llm_core.model.norms.module import LayerNorm, RMSNorm
from llm_core.model.state import new_state
from llm_core.train.fp8 import in_float8
from llm_core.train.precision import autocast

BACKENDS = ("sdpa", "flex", "varlen", "eager")
PRECISIONS = ("bf16", "fp8", "fp32")
VOCABULARY = 512
LENGTH = 1008
"""Tokens of the one sequence. No weight has a side of so many: so weights' copies are told from activations."""
CUDA = torch.device("cuda", 0)
REFUSED = "refused: "
MOST_KEPT = 1.03
"""What the forward pass may keep, over the formula. Less is no error: some backends do without what others need."""


@dataclass
class Types:
    """Types by their short names; several are joined by ``, ``. ``kept`` and ``formula``: bytes per token."""

    model: str
    backend: str
    precision: str
    norms: str = ""
    """What norms make of what: ``bf16→bf16``."""
    attention: str = ""
    """What attention is given, and what it gives."""
    hidden: str = ""
    """What the last product of a mixer or feed-forward is given."""
    stream: str = ""
    logits: str = ""
    loss: str = ""
    gradients: str = ""
    """Those of the weights; ``none`` is among them where a weight has no gradient."""
    kept: int = 0
    """What the forward pass of the blocks keeps for the backward pass."""
    formula: int = 0
    error: str = ""
    wrong: list[str] = field(default_factory=list)


def short(dtype: torch.dtype) -> str:
    """``bf16`` for ``torch.bfloat16``."""
    return str(dtype).removeprefix("torch.").replace("bfloat", "bf").replace("float", "fp")


@contextmanager
def fake_cuda() -> Iterator[None]:
    """Inside, tensors made on device cuda are fake, and the model's code takes the ways of a GPU."""
    if not torch.backends.cuda.is_built():  # else FakeTensorMode sees to it
        _give_device_guard()
    changes: list[tuple[Any, str, Any]] = [
        # torch.autocast turns itself off where there is no GPU.
        (torch.cuda.amp.common, "amp_definitely_not_available", lambda: False),
        (torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation),
        # Nothing can be compiled for a GPU here.
        (flex, "_ready", lambda function, _device: _Fused.of(function) if function is flex_attention else function),
        (functional, "scaled_dot_product_attention", _Fused.of(functional.scaled_dot_product_attention)),
        (functional, "rms_norm", _fused_norm(functional.rms_norm)),
    ]
    with ExitStack() as stack:
        for place, name, changed in changes:
            stack.callback(setattr, place, name, getattr(place, name))
            setattr(place, name, changed)
        stack.enter_context(FakeTensorMode())
        yield


class _Fused(torch.autograd.Function):
    """A fused kernel as a GPU has it: of what it is given and what it makes, it keeps what a GPU's keeps.

    A build without CUDA takes sdpa and RMS norms apart into steps that keep more, and flex wants a compiler. Types are
    those of the function itself, which is called without gradients.
    """

    @staticmethod
    def forward(
        ctx: Any, kernel: Callable[..., Tensor], options: dict[str, Any], q: Tensor, k: Tensor, v: Tensor
    ) -> Tensor:
        mixed = kernel(q, k, v, **options)
        logsumexps = q.new_empty(q.shape[:3], dtype=torch.float32)
        mask = options.get("attn_mask")
        ctx.save_for_backward(q, k, v, mixed, logsumexps, *([] if mask is None else [mask]))
        return mixed

    @staticmethod
    def backward(ctx: Any, _grad: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(torch.empty_like(x) for x in ctx.saved_tensors[:3])

    @staticmethod
    def of(kernel: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """``kernel`` with the same arguments."""

        def fused(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
            mixed: Tensor = _Fused.apply(kernel, options, q, k, v)
            return mixed

        return fused


class _FusedNorm(torch.autograd.Function):
    """See ``_Fused``."""

    @staticmethod
    def forward(ctx: Any, kernel: Callable[..., Tensor], x: Tensor, weight: Tensor | None, *others: Any) -> Tensor:
        normed = kernel(x, x.shape[-1:], weight, *others)
        kept = x.to(normed.dtype)  # autocast, where it is on, has made a copy
        ctx.save_for_backward(kept, x.new_empty(x.shape[:-1], dtype=torch.float32), weight)
        ctx.others = len(others)
        return normed

    @staticmethod
    def backward(ctx: Any, _grad: Tensor) -> tuple[Tensor | None, ...]:
        x, _, weight = ctx.saved_tensors
        gain = None if weight is None else torch.empty_like(weight)
        return None, torch.empty_like(x), gain, *([None] * ctx.others)


def _fused_norm(kernel: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def fused(x: Tensor, _shape: Any, *weight_and_eps: Any) -> Tensor:
        normed: Tensor = _FusedNorm.apply(kernel, x, *weight_and_eps)
        return normed

    return fused


_guard: list[Any] = []
"""What torch has pointers to."""


def _give_device_guard() -> None:
    """In a build of torch without CUDA, have operations on fake tensors of cuda switch to no device.

    torch does that itself (``_ensureCUDADeviceGuardSet``), but only where it finds a guard that knows 0 devices. So it
    is given one, whose methods all return 0, and puts its own in the place. Raises ``RuntimeError`` where that fails.
    """
    if _guard:
        return
    library = next(Path(torch.__file__).parent.glob("lib/libc10.*"))
    try:
        registry = (ctypes.c_void_p * 2).in_dll(ctypes.CDLL(str(library)), "_ZN3c104impl26device_guard_impl_registryE")
    except (OSError, ValueError) as error:
        raise RuntimeError(f"torch {torch.__version__} has no registry of device guards: {error}") from None
    method = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 0)
    methods = (ctypes.c_void_p * 64)(*[ctypes.cast(method, ctypes.c_void_p).value] * 64)
    empty = (ctypes.c_void_p * 1)(ctypes.addressof(methods))
    _guard.extend((method, methods, empty))
    registry[1] = ctypes.addressof(empty)  # DeviceType::CUDA is 1
    torch._C._ensureCUDADeviceGuardSet()
    if registry[1] == ctypes.addressof(empty):
        registry[1] = None
        raise RuntimeError(f"torch {torch.__version__} does not make a device guard for CUDA")


def examine(name: str, spec: ModelSpec, backend: str, precision: str = "bf16", length: int = LENGTH) -> Types:
    """Run ``spec`` in training, evaluation and generation on fake tensors of CUDA; ``error`` says why it can't be."""
    found = Types(name, backend, precision)
    try:
        choose_backend(spec, "cuda", backend, half=precision != "fp32")
    except PedigreeError as error:
        found.error = f"{REFUSED}{error}"
        return found
    model = build_model(spec, VOCABULARY, device="meta")
    with warnings.catch_warnings(), fake_cuda():
        warnings.simplefilter("ignore")
        try:
            _examine(found, spec, on_cuda(model), length)
        except Exception as error:  # whatever a kernel says against its input belongs into the table
            found.error = f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"
    return found


def _examine(found: Types, spec: ModelSpec, model: Decoder, length: int) -> None:
    model.attention_backend = found.backend
    if found.precision == "fp8":
        in_float8(model.all_blocks)
    tokens_BT = torch.zeros(1, length, dtype=torch.int64, device=CUDA)
    ids_BT = torch.zeros(1, length, dtype=torch.int32, device=CUDA)
    seen = _Seen()
    with seen.watching(model), autocast(found.precision, CUDA):
        with seen.keeping(model):
            losses = model(tokens_BT, tokens_BT, ids_BT)
        given = gradients(losses.objective)
        for parameter in model.parameters():
            seen.note("gradients", short(given[parameter].dtype) if parameter in given else "none")
        model.eval()
        with torch.no_grad():
            judged = model(tokens_BT, tokens_BT, ids_BT)
            state = new_state(model, 1, 32)
            for read in (16, 1) if found.precision != "fp8" else (16,):  # fp8 multiplies tokens by sixteens
                seen.note("logits", short(model(tokens_BT[:, :read], state=state, only=-1).dtype))
    for loss in (*losses, *judged):
        seen.note("loss", short(loss.dtype))
    for kind in ("norms", "attention", "hidden", "stream", "logits", "loss", "gradients"):
        setattr(found, kind, ", ".join(sorted(seen.types.get(kind, ()))))
    found.kept = seen.kept // length
    found.formula = activation_bytes_per_token(spec, length, precision=found.precision, backend=found.backend)
    found.wrong = _wrong(found, seen)


def gradients(root: Tensor) -> dict[Tensor, Tensor]:
    """Leaf → the gradient of ``root`` by it, by the graph of autograd.

    Torch's own engine wants a stream of the device, which a build without CUDA has not. So nodes are called here, each
    after all that give to it; as the engine does, gradients are cast to the type of what they belong to.
    """
    assert root.grad_fn is not None
    given: dict[Any, dict[int, Tensor]] = {root.grad_fn: {0: torch.ones_like(root)}}
    found: dict[Tensor, Tensor] = {}
    for node in _from_the_end(root.grad_fn):
        outputs = given.pop(node, {})
        if not outputs:
            continue
        grads = [_fitted(outputs.get(place), like) for place, like in enumerate(node._input_metadata)]
        if hasattr(node, "variable"):
            (found[node.variable],) = grads
            continue
        if isinstance(node, torch.autograd.function.BackwardCFunction):  # one of Python has a result for each argument
            whole = [
                torch.zeros(tuple(like.shape), dtype=like.dtype, device=like.device) if grad is None else grad
                for grad, like in zip(grads, node._input_metadata, strict=True)
            ]
            results = node.apply(*whole)
            results = results if isinstance(results, tuple) else (results,)
            # Results beyond the arguments are allowed, where they are None.
            results = tuple(result for result, needed in zip(results, node.needs_input_grad, strict=False) if needed)
            edges = [edge for edge in node.next_functions if edge[0] is not None]
        else:
            results = node(*grads)
            results = results if isinstance(results, tuple) else (results,)
            edges = list(node.next_functions)
        for (following, place), result in zip(edges, results, strict=True):
            if following is not None and result is not None:
                before = given.setdefault(following, {})
                before[place] = result if place not in before else before[place] + result
    return found


def _from_the_end(root: Any) -> list[Any]:
    """The nodes of autograd below ``root``, each before those that it gives to."""
    ordered: list[Any] = []
    known, waiting = set(), [(root, False)]
    while waiting:
        node, below_is_done = waiting.pop()
        if below_is_done:
            ordered.append(node)
        elif node not in known:
            known.add(node)
            waiting += [(node, True), *((following, False) for following, _ in node.next_functions if following)]
    return ordered[::-1]


def _fitted(grad: Tensor | None, like: Any) -> Tensor | None:
    return None if grad is None else grad.to(like.dtype).sum_to_size(tuple(like.shape))


def on_cuda(model: Decoder) -> Decoder:
    """The model with fake weights on the GPU."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(torch.empty(parameter.shape, device=CUDA)))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype, device=CUDA))
    return model


class _Seen:
    """What was seen in forward passes."""

    def __init__(self) -> None:
        self.types: dict[str, set[str]] = {}
        self.kept = 0

    def note(self, kind: str, text: str) -> None:
        self.types.setdefault(kind, set()).add(text)

    @contextmanager
    def watching(self, model: Decoder) -> Iterator[None]:
        """Look at norms, at blocks, at their last products, and at what attention is given."""

        def norm(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self.note("norms", f"{short(inputs[0].dtype)}→{short(output.dtype)}")

        def block(_module: nn.Module, _inputs: Any, output: tuple[Tensor, Any]) -> None:
            self.note("stream", short(output[0].dtype))

        def last(_module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
            self.note("hidden", short(inputs[0].dtype))

        def watched(attend: Callable[..., Tensor]) -> Callable[..., Tensor]:
            def attended(*qkv_and_mask: Any, **options: Any) -> Tensor:
                mixed = attend(*qkv_and_mask, **options)
                given = " ".join(dict.fromkeys(short(x.dtype) for x in qkv_and_mask[:3]))
                self.note("attention", f"{given}→{short(mixed.dtype)}")
                return mixed

            return attended

        with ExitStack() as stack:
            for name, module in model.named_modules():
                hooks = {
                    norm: isinstance(module, RMSNorm | LayerNorm | GatedNorm),
                    block: isinstance(module, Block) and name.startswith("blocks."),  # not of further tokens
                    last: isinstance(module, nn.Linear) and name.endswith((".output", ".down")),
                }
                for hook in (hook for hook, fits in hooks.items() if fits):
                    stack.callback(module.register_forward_hook(hook).remove)
            for mixer in (attention, mla):
                stack.callback(setattr, mixer, "attend", mixer.attend)
                mixer.attend = watched(mixer.attend)
            yield

    @contextmanager
    def keeping(self, model: Decoder) -> Iterator[None]:
        """Add up what is kept for the backward pass: storages, each once, that are no weights and no copies of them."""
        storages: dict[int, Any] = {}
        weights = {tuple(sorted(parameter.shape)) for parameter in model.parameters()}

        def pack(x: Tensor) -> Tensor:
            if tuple(sorted(x.shape)) not in weights:
                storage = x.untyped_storage()
                storages[storage._cdata] = storage
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            yield
        self.kept = sum(storage.nbytes() for storage in storages.values())


def _wrong(found: Types, seen: _Seen) -> list[str]:
    """What contradicts the rules: a norm gives what it is given, attention and the last products get the type that
    matrices are multiplied in, which logits have too; the stream, losses and the gradients of weights are fp32, and no
    more is kept than preflight counts."""
    half = "fp32" if found.precision == "fp32" else "bf16"
    rules = {
        "norms": all(len(set(text.split("→"))) == 1 for text in seen.types["norms"]),
        "attention": seen.types.get("attention", set()) <= {f"{half}→{half}"},
        "hidden": seen.types.get("hidden", set()) <= {half},
        "stream": found.stream == "fp32",
        "logits": found.logits == half,
        "loss": found.loss == "fp32",
        "gradients": found.gradients == "fp32",
        "memory": found.kept <= MOST_KEPT * found.formula,
    }
    return [name for name, holds in rules.items() if not holds]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=sorted(MODELS), choices=sorted(MODELS))
    parser.add_argument("--backends", nargs="+", default=BACKENDS, choices=BACKENDS)
    parser.add_argument("--precisions", nargs="+", default=("bf16", "fp8"), choices=PRECISIONS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}; one sequence of {LENGTH} tokens\n")
    print(
        "| preset | precision | backend | norms | attention | last products | stream | logits | loss | gradients | "
        "kept / formula |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    wrong = 0
    for name, precision, backend in itertools.product(options.presets, options.precisions, options.backends):
        found = examine(name, ModelSpec(preset=name), backend, precision)
        refused = found.error.startswith(REFUSED)
        wrong += bool(found.wrong) or bool(found.error and not refused)
        cells = [name, precision, backend]
        if found.error:
            cells += [found.error.removeprefix(f"{REFUSED}compute.attention_backend: ").split(";")[0], *[""] * 7]
        else:
            cells += [found.norms, found.attention, found.hidden, found.stream, found.logits, found.loss]
            cells.append(found.gradients)
            cells.append(
                f"{found.kept / found.formula:.2f}{' **wrong: ' + ', '.join(found.wrong) + '**' if found.wrong else ''}"
            )
        print(f"| {' | '.join(cells)} |", flush=True)
    print(f"\n{wrong} wrong" if wrong else "\nnone wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
