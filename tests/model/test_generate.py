import pytest
import torch

from llm_core.model.generate import generate, sample
from llm_core.model.state import new_state
from tests.model.shapes import MODELS, model, named, spec, tokens


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("pieces", [[1] * 9, [5, 1, 1, 2], [9], [1, 8], [4, 5]])
@torch.inference_mode()
def test_cached_logits_equal_uncached(name: str, pieces: list[int]) -> None:
    built, x = model(named(name)), tokens(2, 9)
    state, parts, start = new_state(built, 2, 9), [], 0
    for size in pieces:
        parts.append(built(x[:, start : start + size], state=state))
        start += size
    assert state.length == 9
    torch.testing.assert_close(torch.cat(parts, dim=1), built(x), atol=1e-4, rtol=1e-4)


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


def test_greedy_generation_equals_recomputing_everything() -> None:
    shape = spec(qk_norm=True)
    built, prompts = model(shape), tokens(3, 4)
    found = generate(built, prompts, 12, temperatures=[0.0] * 3, generators=generators(0, 0, 0))
    x = prompts
    for _ in range(12):
        x = torch.cat([x, built(x)[:, -1].argmax(-1, keepdim=True)], dim=1)
    assert found == x[:, 4:].tolist()


def test_a_row_is_drawn_by_its_own_generator_and_temperature() -> None:
    shape = spec()
    built, prompt = model(shape), tokens(1, 3)

    def run(temperatures: list[float], *seeds: int) -> list[list[int]]:
        rows = prompt.repeat(len(seeds), 1)
        return generate(built, rows, 20, temperatures=temperatures, generators=generators(*seeds))

    together = run([1.0, 0.5, 0.0], 1, 2, 3)
    assert together == [*run([1.0], 1), *run([0.5], 2), *run([0.0], 3)]
    assert together == run([1.0, 0.5, 0.0], 1, 2, 3)
    assert run([1.5], 1) != run([1.5], 2)


def test_stops_before_the_end_of_text() -> None:
    shape = spec()
    built, prompts = model(shape), tokens(2, 3)
    free = generate(built, prompts, 30, temperatures=[1.0, 1.0], generators=generators(1, 2))
    stop = next(token for token in free[0][5:] if token not in free[0][:5])
    bound = generate(built, prompts, 30, temperatures=[1.0, 1.0], generators=generators(1, 2), stop=stop)
    for full, cut in zip(free, bound, strict=True):
        assert cut == (full[: full.index(stop)] if stop in full else full)


def test_misuse_is_refused() -> None:
    shape = spec()
    with pytest.raises(ValueError, match="at least one token"):
        generate(model(shape), tokens(1, 0), 3, temperatures=[1.0], generators=generators(1))
    with pytest.raises(ValueError, match="2 prompts, 1 temperatures"):
        generate(model(shape), tokens(2, 3), 3, temperatures=[1.0], generators=generators(1, 2))


def draws(logits: torch.Tensor, n: int = 4000, temperature: float = 1.0, **limits: object) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    limits = {"top_k": None, "top_p": None, **limits}
    found = torch.tensor([sample(logits, temperature, generator, **limits) for _ in range(n)])
    return torch.bincount(found, minlength=len(logits)) / n


PROBABILITIES = torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15])


def test_frequencies_are_the_probabilities() -> None:
    torch.testing.assert_close(draws(PROBABILITIES.log()), PROBABILITIES, atol=0.03, rtol=0)
    squared = PROBABILITIES.square() / PROBABILITIES.square().sum()
    torch.testing.assert_close(draws(PROBABILITIES.log(), temperature=0.5), squared, atol=0.03, rtol=0)


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
    torch.testing.assert_close(draws(PROBABILITIES.log(), **limits), expected, atol=0.03, rtol=0)
