"""All backends compute the same; and which one is taken."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention import flex_attention as flex_module
from torch.nn.attention import varlen as varlen_module

from llm_core.errors import PedigreeError
from llm_core.model import decoder, eager, flex, varlen
from llm_core.model.attending import attend, prepare_mask
from llm_core.model.backends import choose_backend
from llm_core.model.masks import Mask, distances, visible
from llm_core.model.positions.alibi.module import alibi_slopes
from llm_core.model.varlen import document_offsets
from tests.model.shapes import MLA, MODELS, model, named, spec, tokens, wide

CPU = torch.device("cpu")
T = 22
DOCUMENTS = torch.tensor([[0] * 9 + [1] * 8 + [-1] * 5, [3] * 1 + [4] * 13 + [5] * 8])

every_model = pytest.mark.parametrize("name", MODELS)
masked = pytest.mark.parametrize("document_mask", [False, True], ids=["plain", "documents"])


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlexAttention as plain operations: nothing is compiled, not even for the compiler that compiles nothing."""
    monkeypatch.setattr(flex_module, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)


def backends(name: str, device: str) -> list[str]:
    """Those that can do what a model asks."""
    possible = []
    for backend in ("eager", "sdpa", "flex", "varlen"):
        try:
            possible.append(choose_backend(named(name), device, backend))
        except PedigreeError:
            continue
    return possible


@every_model
@masked
@pytest.mark.usefixtures("uncompiled")
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_backends_agree(name: str, document_mask: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits of FlexAttention and SDPA against those of eager products by blocks of eight queries."""
    monkeypatch.setattr(eager, "QUERIES", 8)
    built, x, found = model(named(name, document_mask=document_mask)), tokens(2, T), {}
    documents = DOCUMENTS if document_mask else None
    for backend in [*backends(name, "cpu"), "flex"]:
        monkeypatch.setattr(decoder, "choose_backend", lambda *_, chosen=backend, **__: chosen)
        with torch.no_grad():
            found[backend] = built(x, document_ids_BT=documents)
    for backend, logits in found.items():
        torch.testing.assert_close(logits, found["eager"], atol=1e-4, rtol=1e-4, msg=backend)


@pytest.mark.parametrize(
    "fields", [{}, {"window": 5}, {"documents_BS": DOCUMENTS}], ids=["plain", "window", "documents"]
)
@pytest.mark.parametrize("backend", ["eager", "sdpa"])
def test_dropout_of_attention_leaves_out_weights_by_chance(
    backend: str, fields: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the weights are gone, the others doubled, and the mean over many draws is what it is without."""
    monkeypatch.setattr(eager, "QUERIES", 8)
    q, k, v = heads(2)
    mask = prepare_mask(Mask(T, T, **{"window": None, "documents_BS": None, "slopes_H": None, **fields}), backend, CPU)
    exact = attend(q, k, v, mask, scale=0.3, softcap=None)
    torch.manual_seed(0)
    once = attend(q, k, v, mask, scale=0.3, softcap=None, dropout=0.5)
    first = once[0, :, 0] / exact[0, :, 0]  # the first token sees itself alone: all of it, or nothing
    assert {round(value, 3) for value in first.flatten().tolist()} <= {0.0, 2.0}
    drawn = torch.stack([attend(q, k, v, mask, scale=0.3, softcap=None, dropout=0.5) for _ in range(2000)])
    torch.testing.assert_close(drawn.mean(0), exact, atol=0.2, rtol=0.0)
    torch.manual_seed(0)
    assert torch.equal(attend(q, k, v, mask, scale=0.3, softcap=None, dropout=0.5), once)


@pytest.mark.parametrize("mixer", [{}, MLA], ids=["attention", "mla"])
@pytest.mark.parametrize("backend", ["eager", "sdpa"])
def test_dropout_of_attention_is_for_training_alone(backend: str, mixer: dict) -> None:
    plain, built = (model(spec(mixer={**mixer, "dropout": share})) for share in (0.0, 0.5))
    plain.attention_backend = built.attention_backend = backend
    x = tokens(2, T)
    assert not torch.equal(built(x), built(x))
    assert torch.equal(built.eval()(x), plain.eval()(x))


def test_which_backend_draws() -> None:
    def chosen(device: str, document_mask: bool = False, **mixer: object) -> str:
        shape = spec(d_model=64, document_mask=document_mask, mixer={"dropout": 0.1, **mixer})
        return choose_backend(shape, device)

    assert chosen("cuda") == "sdpa"
    assert chosen("cuda", document_mask=True, position="alibi") == "sdpa"
    assert chosen("cuda", softcap=5.0) == "eager"
    assert chosen("cpu") == "eager"
    assert chosen("mps") == "eager"


@every_model
@masked
def test_gradients_agree(name: str, document_mask: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eager, "QUERIES", 8)
    documents, gradients = DOCUMENTS if document_mask else None, []
    for backend in backends(name, "cpu"):
        built = model(named(name, document_mask=document_mask))
        built.attention_backend = backend
        built(tokens(2, T), tokens(2, T, seed=1), documents).objective.backward()
        gradients.append([parameter.grad for parameter in built.parameters()])
    for other in gradients[1:]:
        for expected, found in zip(gradients[0], other, strict=True):
            torch.testing.assert_close(found, expected, atol=2e-3, rtol=1e-3)


@pytest.mark.gpu
@every_model
@masked
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_backends_agree_on_cuda(name: str, document_mask: bool, dtype: torch.dtype) -> None:
    """Losses and gradients with heads of 64 channels; in bf16 under autocast, with varlen."""
    shape = wide(name, document_mask=document_mask)
    x, y = (torch.randint(0, 50, (2, 256), device="cuda") for _ in range(2))
    documents = (torch.arange(256, device="cuda") // 100).expand(2, -1)
    found: dict[str, list[Tensor]] = {}
    for backend in backends(name, "cuda"):
        if backend == "varlen" and dtype == torch.float32:
            continue
        built = model(shape).cuda()
        with torch.no_grad():
            for parameter in built.parameters():
                parameter.mul_(0.3)
        built.attention_backend = backend
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = built(x, y, documents).objective
        loss.backward()
        found[backend] = [loss, *(parameter.grad for parameter in built.parameters())]
    tolerance = 1e-3 if dtype == torch.float32 else 5e-2
    for values in found.values():
        for a, b in zip(values, found["eager"], strict=True):
            assert (a - b).norm() <= tolerance * b.norm() + 1e-6


def heads(rows: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Queries in four heads, keys and values in two; values are narrower."""
    generator = torch.Generator().manual_seed(0)
    shapes = (rows, 4, T, 8), (rows, 2, T, 8), (rows, 2, T, 6)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


MASKS = [
    {},
    {"window": 5},
    {"documents_BS": DOCUMENTS},
    {"documents_BS": DOCUMENTS, "window": 5},
    {"window": T + 3},
]


def one_by_one(q: Tensor, k: Tensor, v: Tensor, from_N: Tensor, to_N: Tensor, *lengths: int, **options) -> Tensor:
    """What varlen_attn computes: documents one after the other."""
    assert lengths == (T, T)
    assert torch.equal(from_N, to_N)
    assert from_N.dtype == torch.int32
    assert q.shape[2] % 8 == 0
    groups, (left, right), scale = q.shape[1] // k.shape[1], options["window_size"], options["scale"]
    assert options.get("enable_gqa", False) == (groups > 1)
    assert right == 0
    mixed = torch.zeros_like(q)
    for start, stop in zip(from_N.tolist(), from_N[1:].tolist(), strict=False):
        part = slice(start, stop)
        one = torch.ones(stop - start, stop - start, dtype=torch.bool)
        seen = one.tril() if left < 0 else one.tril() & one.triu(-left)
        qs, ks, vs = (x[part].transpose(0, 1).float() for x in (q, k, v))
        scores = scale * qs @ ks.repeat_interleave(groups, 0).mT
        weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        mixed[part] = (weights @ vs.repeat_interleave(groups, 0)).transpose(0, 1).to(q.dtype)
    return mixed


@pytest.mark.parametrize("channels", [8, 5])
@pytest.mark.parametrize("fields", MASKS)
def test_variable_lengths_get_what_they_need(fields: dict, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel itself is CUDA's; this is all around it."""
    monkeypatch.setattr(varlen_module, "varlen_attn", one_by_one)
    monkeypatch.setattr(varlen, "MEAN_DOCUMENT", 1)
    q, k, v = (x[..., :channels] for x in heads(2, torch.bfloat16))
    mask = Mask(T, T, **{"window": None, "documents_BS": None, "slopes_H": None, **fields})
    expected, found = (
        attend(x, y, z, prepare_mask(mask, backend, CPU, x.dtype), scale=0.3, softcap=None)
        for backend, x, y, z in (("eager", q.float(), k.float(), v.float()), ("varlen", q, k, v))
    )
    assert found.shape == (2, 4, T, min(channels, 6))
    torch.testing.assert_close(found.float(), expected, atol=0.02, rtol=0.02)


def test_variable_lengths_want_half_precision() -> None:
    with pytest.raises(PedigreeError, match=r"varlen has no precision fp32; write auto, which takes sdpa here"):
        choose_backend(spec(d_model=64), "cuda", "varlen", half=False)


def test_passes_in_fp32_of_a_run_with_variable_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training in fp32 is refused; the leak probe's are taken by another backend."""
    built, asked = model(spec()), []
    built.attention_backend = "varlen"

    def chosen(_spec: object, _device: str, wanted: str, *, half: bool, **_: object) -> str:
        asked.append((wanted, half))
        return "eager"

    monkeypatch.setattr(decoder, "choose_backend", chosen)
    for training in (True, False):
        for half in (True, False):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
                built.train(training)(tokens(1, 4))
    assert asked == [("varlen", True), ("varlen", False), ("varlen", True), ("auto", False)]


def test_offsets_are_where_documents_begin() -> None:
    documents = torch.tensor([[0] * 20 + [1] * 12, [1] * 30 + [-1] * 2])
    offsets = document_offsets(documents).tolist()
    assert offsets[:4] == [0, 20, 32, 62]
    assert set(offsets[4:]) == {64}
    assert len(offsets) == 2 + 64 // 16 + 1
    with pytest.raises(RuntimeError, match="less than 16 tokens on average"):
        document_offsets(torch.arange(32)[None])


@pytest.mark.parametrize(
    ("backend", "softcap"), [("sdpa", None), ("eager", None), ("eager", 4.0), ("flex", 4.0), ("varlen", None)]
)
def test_new_tokens_see_those_of_the_state(backend: str, softcap: float | None) -> None:
    """With more keys than queries, whatever the backend: the last rows of what a whole pass gives."""
    q, k, v = heads(2)
    slopes = alibi_slopes(4)
    for fields in [*MASKS, {"documents_BS": DOCUMENTS, "slopes_H": slopes}, {"slopes_H": slopes, "window": 4}]:
        fields = {"window": None, "documents_BS": None, "slopes_H": None, **fields}
        whole = attend(q, k, v, prepare_mask(Mask(T, T, **fields), "eager", CPU), scale=0.3, softcap=softcap)
        for length in (1, 7):
            new = prepare_mask(Mask(length, T, **fields), backend, CPU)
            found = attend(q[:, :, -length:], k, v, new, scale=0.3, softcap=softcap)
            torch.testing.assert_close(found, whole[:, :, -length:], atol=1e-5, rtol=1e-5)


def test_a_mask_is_made_once_for_layers_of_a_kind() -> None:
    built = model(named("mixattention", n_layers=8, document_mask=True))
    context = built.context(tokens(2, T), DOCUMENTS, None)
    assert len(context.masks) == 2


@pytest.mark.parametrize(
    ("changes", "device", "chosen"),
    [
        ({"document_mask": True, "mixer": {"qk_norm": True}}, "cpu", "sdpa"),
        ({"pattern": ({"mixer": {"window": 3}}, {})}, "cpu", "sdpa"),
        ({"mixer": {"position": "alibi"}}, "cpu", "sdpa"),
        ({"mixer": {"softcap": 9.0}}, "cpu", "eager"),
        ({"mixer": {**MLA, "kv_rank": 16, "nope_dim": 8, "rope_dim": 8, "value_dim": 8}}, "cpu", "sdpa"),
        ({}, "cuda", "sdpa"),
        ({"document_mask": True}, "cuda", "flex"),
        ({"pattern": ({"mixer": {"window": 3}}, {})}, "cuda", "flex"),
        ({"mixer": {"softcap": 9.0}}, "cuda", "flex"),
        ({"mixer": {"position": "alibi"}}, "cuda", "flex"),
        ({"mixer": {"position": "alibi", "head_dim": 8}}, "cuda", "sdpa"),
        ({"mixer": {"softcap": 9.0, "head_dim": 8}}, "cuda", "eager"),
        ({"mixer": {"softcap": 9.0}}, "mps", "eager"),
        ({"document_mask": True}, "mps", "eager"),
        ({}, "mps", "eager"),
    ],
)
def test_what_auto_takes(changes: dict, device: str, chosen: str) -> None:
    for half in (True, False):
        assert choose_backend(spec(**{"d_model": 64, **changes}), device, half=half) == chosen


@pytest.mark.parametrize("half", [True, False], ids=["bf16", "fp32"])
@pytest.mark.parametrize("name", [name for name in MODELS if not getattr(named(name).layers[0].mixer, "softcap", None)])
def test_cpus_attend_with_a_fused_kernel(name: str, half: bool) -> None:
    """Whatever the mask and the groups of heads, of the mask's own type: with another, torch would write out all
    scores. Its results are the same each time: gradients of a group's keys are summed in one order."""
    built = model(named(name, document_mask=True))

    def gradients() -> list[Tensor]:
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION), torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            objective = built(tokens(2, T), tokens(2, T, seed=1), DOCUMENTS).objective
        return list(torch.autograd.grad(objective, list(built.parameters()), allow_unused=True))

    for once, again in zip(gradients(), gradients(), strict=True):
        assert once is again is None or torch.equal(once, again)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("slopes", [None, alibi_slopes(4)], ids=["", "slopes"])
def test_cpus_attend_by_the_definition(slopes: Tensor | None, dtype: torch.dtype) -> None:
    """Values and gradients against products in fp64, in the kernel's blocks: sequences are longer than one."""
    length, generator = 300, torch.Generator().manual_seed(0)
    documents = torch.tensor([[0] * 300, [0] * 37 + [1] * 200 + [2] * 63])
    sizes = ((2, 4, length, 16), (2, 2, length, 16), (2, 2, length, 16))
    exact = [torch.randn(size, generator=generator).to(dtype).double().requires_grad_() for size in sizes]
    upstream = torch.randn(sizes[0], generator=generator).to(dtype)
    for fields in ({}, {"window": 50}, {"documents_BS": documents}, {"documents_BS": documents, "window": 50}):
        mask = Mask(length, length, **{"window": None, "documents_BS": None, "slopes_H": slopes, **fields})
        scores = 0.3 * exact[0] @ exact[1].repeat_interleave(2, 1).mT
        if slopes is not None:
            scores = scores - slopes[:, None, None] * distances(mask, CPU)
        weights = scores.masked_fill(~visible(mask, CPU), -torch.inf).softmax(-1)
        expected = weights @ exact[2].repeat_interleave(2, 1)
        rounded = [x.detach().to(dtype).requires_grad_() for x in exact]
        found = attend(*rounded, prepare_mask(mask, "sdpa", CPU, dtype), scale=0.3, softcap=None)
        assert found.dtype == dtype
        pairs = [(found, expected)]
        pairs += zip(
            torch.autograd.grad(found, rounded, upstream),
            torch.autograd.grad(expected, exact, upstream.double()),
            strict=True,
        )
        for one, other in pairs:
            assert (one - other).norm() < (1e-5 if dtype == torch.float32 else 0.02) * other.norm()


@pytest.mark.parametrize("wanted", ["auto", "flex", "varlen"])
def test_what_decoding_takes(wanted: str) -> None:
    shape, capped = (spec(d_model=64, document_mask=True, mixer={"softcap": softcap}) for softcap in (None, 5.0))
    assert choose_backend(shape, "cuda", wanted, decoding=True) == "sdpa"
    assert choose_backend(capped, "cuda", wanted, decoding=True) == "eager"
    assert choose_backend(shape, "cpu", wanted, decoding=True) == "sdpa"


@pytest.mark.parametrize(
    ("mixer", "device", "wanted", "message"),
    [
        (
            {"softcap": 9.0},
            "cuda",
            "sdpa",
            "sdpa has no softcap of attention; write auto, which takes flex here",
        ),
        ({}, "cpu", "flex", "flex has no device of type cpu; write auto, which takes sdpa"),
        ({"head_dim": 8}, "cuda", "flex", "flex has no heads of less than 16 channels; write auto, which takes sdpa"),
        ({}, "cpu", "varlen", "varlen has no device of type cpu"),
        (
            {"softcap": 9.0, "position": "alibi"},
            "cuda",
            "varlen",
            "varlen has no softcap of attention and no position that adds to scores",
        ),
        ({"dropout": 0.1}, "cuda", "flex", "flex has no dropout of attention; write auto, which takes sdpa here"),
        ({"dropout": 0.1}, "cuda", "varlen", "varlen has no dropout of attention; write auto, which takes sdpa"),
        (
            {"dropout": 0.1, "softcap": 9.0},
            "cuda",
            "flex",
            "flex has no dropout of attention; write auto, which takes eager here",
        ),
        ({"head_dim": 264}, "cuda", "varlen", "varlen has no heads of more than 256 channels; write auto"),
    ],
)
def test_what_a_backend_cannot_do_is_refused(mixer: dict, device: str, wanted: str, message: str) -> None:
    with pytest.raises(PedigreeError, match=f"compute.attention_backend: {message}"):
        choose_backend(spec(d_model=64, mixer=mixer), device, wanted)


def test_the_refusal_comes_before_the_forward_pass() -> None:
    built: nn.Module = model(spec(mixer={"softcap": 5.0}))
    built.attention_backend = "sdpa"
    with pytest.raises(PedigreeError, match="softcap of attention"):
        built(tokens(1, 4))


def test_masks_of_many_kinds_stay_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler's own limit is 8, after which it quietly takes what was to be compiled as it is."""
    graphs = CompileCounter()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=graphs))
    torch._dynamo.reset()

    def masked(x: Tensor, kind: str) -> Tensor:
        return x + len(kind)

    with torch._dynamo.config.patch(recompile_limit=8):
        compiled = flex._compiled(masked)
        for kind in range(12):
            compiled(torch.ones(2), "mask" * kind)
    torch._dynamo.reset()
    assert graphs.frame_count == 12
