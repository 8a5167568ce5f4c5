import pytest
import torch
from torch import nn

from llm_core.experiment.evaluation import LEAST_PENALTY, MOST_PENALTY
from llm_core.model.generate import Sampling, generate, stream
from llm_core.model.state import new_state
from tests.model.shapes import MODELS, VOCAB, model, named, spec, tokens


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@torch.inference_mode()
def test_rows_padded_on_the_left_read_as_alone() -> None:
    for name in MODELS:
        built, x = model(named(name)), tokens(1, 8)
        padded = torch.cat([torch.zeros(1, 3, dtype=torch.long), x], dim=1)
        documents = torch.tensor([[-1] * 3 + [0] * 5])
        state = new_state(built, 1, 11, documents_BS=documents)
        first = built(padded[:, :8], state=state)
        parts = [first, built(padded[:, 8:10], state=state), built(padded[:, 10:], state=state)]
        found = torch.cat(parts, dim=1)[:, 3:]
        torch.testing.assert_close(found, built(x), atol=1e-4, rtol=1e-4, msg=name)


def test_a_full_state_is_refused() -> None:
    built = model(spec())
    with pytest.raises(ValueError, match="holds 4 tokens; 5"):
        built(tokens(1, 5), state=new_state(built, 1, 4))


def recomputed(built: nn.Module, prompt: list[int], new: int) -> list[int]:
    """Greedy continuation without a state."""
    line = list(prompt)
    with torch.no_grad():
        for _ in range(new):
            line.append(int(built(torch.tensor([line]))[0, -1].argmax()))
    return line[len(prompt) :]


@pytest.mark.parametrize("name", MODELS)
def test_greedy_generation_equals_recomputing_everything(name: str) -> None:
    """Also of prompts of different lengths, and longer than a window."""
    built = model(named(name))
    prompts = [tokens(1, length, seed=length)[0].tolist() for length in (4, 1, 9)]
    assert generate(built, prompts, Sampling(8)) == [recomputed(built, prompt, 8) for prompt in prompts]


def test_a_row_is_drawn_by_its_own_generator_and_temperature() -> None:
    built = model(spec())
    prompts = [[3, 1, 4], [1, 5, 9, 2, 6], [5]]

    def run(rows: list[int], temperatures: list[float]) -> list[list[int]]:
        seeds = generators(*[10 + row for row in rows])
        return generate(built, [prompts[row] for row in rows], Sampling(20, temperatures), generators=seeds)

    together = run([0, 1, 2], [1.0, 0.5, 0.0])
    assert together == [*run([0], [1.0]), *run([1], [0.5]), *run([2], [0.0])]
    assert together == run([0, 1, 2], [1.0, 0.5, 0.0])
    assert run([0, 0], [1.5, 1.5])[0] != generate(built, [prompts[0]], Sampling(20, 1.5), generators=generators(99))[0]


def stops(row: list[int], *sequences: list[int]) -> list[int]:
    """``row`` before the first place where a sequence is complete."""
    for end in range(1, len(row) + 1):
        for sequence in sequences:
            if row[:end][-len(sequence) :] == sequence:
                return row[: end - len(sequence)]
    return row


def test_rows_end_before_a_stop_sequence() -> None:
    built, prompts = model(spec()), tokens(3, 3)

    def run(*stop: list[int]) -> list[list[int]]:
        return generate(built, prompts, Sampling(30, 1.0, stop=stop), generators=generators(1, 2, 3))

    free = run()
    single, double = free[0][6], free[1][10:12]
    begun = [free[2][4], free[2][5], VOCAB + 1]  # never complete
    assert run([single], double, begun) == [stops(row, [single], double) for row in free]
    assert run(begun) == free
    assert run([prompts[0, -1].item(), free[0][0]])[0] == stops(free[0], [prompts[0, -1].item(), free[0][0]])


def test_a_row_ends_where_the_caller_says() -> None:
    built, prompts = model(spec()), tokens(2, 3)
    free = generate(built, prompts, Sampling(12))
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    found = generate(built, prompts, Sampling(12), ended=lambda row: len(row) == (5 if row[0] == free[0][0] else 7))
    assert [len(row) for row in found] == [5 if row[0] == free[0][0] else 7 for row in free]
    generate(built, prompts, Sampling(12), ended=lambda row: len(row) == 4, advance=count)
    assert steps == 4


def test_tokens_come_as_they_are_made() -> None:
    built, prompts = model(spec()), [[1, 2, 3], [4, 5]]
    passes: list[int] = []
    built.register_forward_hook(lambda *_: passes.append(1))
    found: list[list[int]] = [[], []]
    order = []
    for row, token in stream(built, prompts, Sampling(6)):
        found[row].append(token)
        order.append((len(found[row]), len(passes)))
    assert found == generate(built, prompts, Sampling(6))
    assert order == [(number, number) for number in range(1, 7) for _ in range(2)]


def test_what_may_be_a_stop_sequence_comes_late_or_never() -> None:
    built, prompts = model(spec()), tokens(1, 3)

    def run(*stop: list[int]) -> list[tuple[int, int]]:
        """Tokens, and after how many passes they came."""
        passes: list[int] = []
        handle = built.register_forward_hook(lambda *_: passes.append(1))
        sampling = Sampling(12, 100.0, stop=stop)
        came = [(token, len(passes)) for _, token in stream(built, prompts, sampling, generators=generators(0))]
        handle.remove()
        return came

    free = [token for token, _ in run()]
    at = next(place for place in range(2, 9) if len(set(free[: place + 3])) == place + 3)
    came = run([free[at], free[at + 1], VOCAB + 1])
    assert [token for token, _ in came] == free
    assert [after for _, after in came][at : at + 3] == [at + 3] * 3
    assert [token for token, _ in run(free[at : at + 3])] == free[:at]


def test_only_the_last_logits_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    built = model(spec())
    shapes = []
    built.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape)))
    generate(built, [[1, 2, 3], [4, 5]], Sampling(3))
    assert shapes == [(2, 1, VOCAB)] * 3


def test_the_model_stays_in_the_mode_it_was_in() -> None:
    built = model(spec(dropout=0.5))
    for training in (True, False):
        built.train(training)
        next(stream(built, [[1, 2]], Sampling(3)))
        first = generate(built, [[1, 2]], Sampling(9))
        assert built.training == training
        assert first == generate(built, [[1, 2]], Sampling(9))


def test_misuse_is_refused() -> None:
    built = model(spec())
    for prompts in ([], [[1], []], tokens(1, 0)):
        with pytest.raises(ValueError, match="at least one"):
            stream(built, prompts, Sampling(3))
    for wrong in (VOCAB, -1):
        with pytest.raises(ValueError, match=f"token {wrong} of a prompt is not an id of the model, which has {VOCAB}"):
            generate(built, [[1, 2], [wrong]], Sampling(3, repetition_penalty=1.1))
    with pytest.raises(ValueError, match="2 prompts, 1 temperatures, 2 generators"):
        generate(built, tokens(2, 3), Sampling(3, [1.0]), generators=generators(1, 2))
    with pytest.raises(ValueError, match="2 prompts, 2 temperatures, 0 generators"):
        generate(built, tokens(2, 3), Sampling(3, [0.0, 1.0]))
    with pytest.raises(ValueError, match="66 tokens are needed, and the model can read 64"):
        generate(model(named("gpt2")), [[1] * 7, [1]], Sampling(60))
    assert len(generate(model(named("gpt2")), [[1] * 5, [1]], Sampling(60))[0]) == 60


@pytest.mark.parametrize(
    "fields",
    [
        {"max_new_tokens": 0},
        {"temperature": -0.1},
        {"temperature": [1.0, float("nan")]},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"repetition_penalty": 1e-40},
        {"repetition_penalty": 11.0},
        {"repetition_penalty": float("nan")},
        {"stop": ([],)},
    ],
)
def test_senseless_sampling_is_refused(fields: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        Sampling(**{"max_new_tokens": 1, **fields})


class Fixed(nn.Module):
    """The same logits whatever was read."""

    spec = spec()

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)
        self.vocab_size = len(logits)
        self.blocks = nn.ModuleList()
        self.ngram_embedding = None

    def forward(self, tokens_BT: torch.Tensor, **_: object) -> torch.Tensor:
        return self.logits.expand(len(tokens_BT), 1, -1)


PROBABILITIES = torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15])


def draws(logits: torch.Tensor, prompt: list[int], temperature: float = 1.0, **limits: object) -> torch.Tensor:
    """How often each token is drawn first."""
    rows = 4000
    sampling = Sampling(1, temperature, **limits)
    shared = torch.Generator().manual_seed(0)
    found = generate(Fixed(logits), [prompt] * rows, sampling, generators=[shared] * rows)
    return torch.bincount(torch.tensor(found)[:, 0], minlength=len(logits)) / rows


def test_frequencies_are_the_probabilities() -> None:
    torch.testing.assert_close(draws(PROBABILITIES.log(), [0]), PROBABILITIES, atol=0.03, rtol=0)
    squared = PROBABILITIES.square() / PROBABILITIES.square().sum()
    torch.testing.assert_close(draws(PROBABILITIES.log(), [0], temperature=0.5), squared, atol=0.03, rtol=0)


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        ({"top_k": 1}, [1]),
        ({"top_k": 2}, [1, 3]),
        ({"top_k": 99}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.01}, [1]),
        ({"top_p": 0.69}, [1, 3]),
        ({"top_p": 0.71}, [1, 3, 4]),
        ({"top_p": 1.0}, [0, 1, 2, 3, 4]),
        ({"top_k": 2, "top_p": 0.5}, [1]),  # 0.4 of 0.7 is more than half
    ],
)
def test_top_k_and_top_p_keep_the_likeliest(limits: dict, kept: list[int]) -> None:
    expected = torch.zeros(5)
    expected[kept] = PROBABILITIES[kept] / PROBABILITIES[kept].sum()
    torch.testing.assert_close(draws(PROBABILITIES.log(), [0], **limits), expected, atol=0.03, rtol=0)


def test_tokens_that_are_there_lose_by_the_penalty() -> None:
    logits = torch.tensor([1.0, 2.0, -0.5, 0.3, 0.0])
    lower = torch.tensor([0.5, 2.0, -1.0, 0.3, 0.0])
    found = draws(logits, [0, 2, 0], repetition_penalty=2.0)
    torch.testing.assert_close(found, lower.softmax(-1), atol=0.03, rtol=0)
    # What is new counts as well, and padding does not.
    steep = Fixed(torch.tensor([1.9, 2.0, 1.8, 0.3, 0.1]))
    assert generate(steep, [[4, 4], [2]], Sampling(4, repetition_penalty=4.0)) == [[1, 0, 2, 1], [1, 0, 1, 1]]


def test_a_temperature_near_zero_takes_the_likeliest() -> None:
    """Logits divided by it are beyond every float."""
    built = Fixed(torch.tensor([90.0, 95.0, -80.0]))
    for temperature in (1e-40, 1e-46, 1e-300):  # the last two are 0 in fp32
        assert generate(built, [[0]], Sampling(3, temperature), generators=generators(0)) == [[1, 1, 1]]


def test_the_likeliest_token_stays_whatever_top_p_is() -> None:
    assert generate(Fixed(PROBABILITIES.log()), [[0]], Sampling(2, 1.0, top_p=1e-320), generators=generators(0)) == [
        [1, 1]
    ]


def test_the_widest_penalty_and_temperature_leave_finite_logits() -> None:
    built = Fixed(torch.tensor([3e4, -3e4, 0.0]))
    for penalty in (LEAST_PENALTY, MOST_PENALTY):
        sampling = Sampling(2, 1e300, top_p=1.0, repetition_penalty=penalty)
        assert len(generate(built, [[0, 1]], sampling, generators=generators(0))[0]) == 2
