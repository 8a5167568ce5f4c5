"""Which ideas help? Each alone against Llama 3 with AdamW, on equal tokens and in equal time, with several seeds.

``python -m benchmarks.quality [--jobs 2] [--seeds 3] [--write docs/results/quality.md]``. ``base.yaml`` says what is
compared; its variant ``best`` is the combination. Shards come through the store; runs lie below
``$PEDIGREE_HOME/quality`` and are found again, as long as the code of the trainer is the same. In this order: the speed
of every idea, in turns; equal tokens; the combination in fractions of the baseline's time; equal time (as many tokens
as an idea reads in the baseline's time, with a schedule of its own); and other learning rates of the baseline.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.quality.runs import BASELINE, Outcome, Run, carry_out, code_digest
from benchmarks.quality.speed import speeds
from benchmarks.quality.table import fraction_table, paint, rate_table, table
from llm_core.errors import PedigreeError
from llm_core.experiment.training import ProxySpec, TrainingSpec
from llm_core.model.accounting import parameter_count
from llm_core.report.style import draw
from llm_core.store.home import pedigree_home
from pipelines import show
from pipelines.session import Session, open_session

FOLDER = Path(__file__).parent
COMMAND = "python -m benchmarks.quality"
BEST = "best"
FRACTIONS = (0.4, 0.5, 0.6)
RATES = (5e-4, 1e-3, 2e-3, 4e-3)
"""The baseline's learning rate and others, on one seed: to show that what ideas are held against is no bad one."""


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description="Ideas against the baseline.")
    parser.add_argument("--jobs", type=int, default=2, help="training processes at a time, of one thread each")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3, help="repeats of the measurement of speed")
    parser.add_argument("--only", nargs="*", help="variants to run beside the baseline; by default all")
    parser.add_argument("--write", type=Path, help="Markdown file to write; the figure goes beside it.")
    options = parser.parse_args()

    session = open_session(str(FOLDER / "base.yaml"))
    experiment, proxies = session.experiment, session.experiment.proxies
    assert proxies is not None
    shards, bytes_per_token = made(session)
    wanted = [name for name in proxies.variants if not options.only or name in {BASELINE, *options.only}]
    vocab_size = experiment.tokenizer.vocab_size
    seeds = [experiment.seed + number for number in range(options.seeds)]
    home = pedigree_home() / "quality" / code_digest()

    first = {name: Run(name, proxies.variant(name), proxies.variant_training(name), seeds[0]) for name in wanted}
    measured = speeds(first, shards, vocab_size, options.rounds, home)
    ideas = [name for name in wanted if name != BEST]
    # In fiftieths: an idea as fast as the baseline, as far as can be told, has no run of its own in equal time.
    shares = {name: round(50 * measured[name].share) / 50 for name in wanted}
    whole = [of_share(proxies, name, seed, 1.0) for seed in seeds for name in ideas]
    timed = [of_share(proxies, name, seed, shares[name]) for seed in seeds for name in ideas]
    best = {
        fraction: [of_share(proxies, BEST, seed, fraction * shares[BEST]) for seed in seeds]
        for fraction in FRACTIONS
        if BEST in wanted
    }
    rates = {rate: of_rate(proxies, BASELINE, seeds[0], rate) for rate in RATES}
    fractions = [run for runs in best.values() for run in runs]
    planned = [*whole, *fractions, *timed, *rates.values()]
    outcomes = dict(zip(planned, carry_out(planned, shards, home, vocab_size, options.jobs), strict=True))
    tokens, time = ([outcomes[run] for run in runs] for runs in (whole, timed))
    parameters = {name: parameter_count(run.model, vocab_size).total for name, run in first.items()}
    lines = table(ideas, tokens, time, measured, parameters, bytes_per_token)
    if best:
        reached = {fraction: [outcomes[run] for run in runs] for fraction, runs in best.items()}
        baseline = [outcome for outcome in tokens if outcome.run.name == BASELINE]
        changes = json.dumps(proxies.variants[BEST])
        lines += ["", f"The combination, `{changes}`:", "", *fraction_table(reached, baseline, bytes_per_token)]
    tried = {rate: outcomes[run] for rate, run in rates.items()}
    lines += ["", "Learning rates of the baseline, equal tokens, one seed:", "", *rate_table(tried, bytes_per_token)]
    print("\n".join(lines))
    if options.write is not None:
        draw("quality", "", (8.4, 4.2), lambda axes: paint(axes, ideas, time, bytes_per_token)).save(
            options.write.parent
        )
        options.write.write_text(page(lines, proxies, seeds, tokens), encoding="utf-8")


def made(session: Session) -> tuple[Path, float]:
    """The shards, and how many bytes of held-out text a token stands for."""
    show.run(Console(), session, {"token_shards"})
    items = {item.stage: item.artifact for item in session.planner().plan({"token_shards"})}
    shards, documents = items["token_shards"], items["pretraining_documents"]
    if shards is None or documents is None:
        raise PedigreeError("token_shards was not made")
    index = json.loads((shards.path / "shards.json").read_bytes())
    return shards.path, documents.stats["heldout_bytes"] / index["splits"]["heldout"]["tokens"]


def of_share(proxies: ProxySpec, name: str, seed: int, share: float) -> Run:
    """A run of ``share`` of the baseline's tokens; warm-up and cooldown shrink or grow with it."""
    training = proxies.variant_training(name)
    steps = max(1, round(share * training.steps))
    schedule = training.schedule.model_copy(
        update={
            "warmup_steps": round(training.schedule.warmup_steps * steps / training.steps),
            "cooldown_steps": round(training.schedule.cooldown_steps * steps / training.steps),
        }
    )
    bags = training.superposition
    if bags is not None:
        bags = bags.model_copy(update={"steps": round(bags.steps * steps / training.steps)})
    changes = {"tokens": steps * training.batch_tokens, "schedule": schedule, "superposition": bags}
    checked = TrainingSpec.model_validate(training.model_copy(update=changes).model_dump())
    return Run(name, proxies.variant(name), checked, seed)


def of_rate(proxies: ProxySpec, name: str, seed: int, rate: float) -> Run:
    """A run on all of the tokens at another learning rate."""
    training = proxies.variant_training(name)
    optimizer = training.optimizer.model_copy(update={"lr": rate})
    return Run(name, proxies.variant(name), training.model_copy(update={"optimizer": optimizer}), seed)


def page(lines: Sequence[str], proxies: ProxySpec, seeds: Sequence[int], tokens: Sequence[Outcome]) -> str:
    """The results page."""
    training, model = proxies.training, proxies.model
    spent = sum(outcome.seconds for outcome in tokens)
    return f"""# Which ideas help

{model.n_layers} layers of {model.d_model} on `webmix_cc`, {training.tokens:,} tokens in {training.steps} steps,
{len(seeds)} seeds (a seed changes the first weights and the order of the data). Figures are mean ± standard deviation
over seeds; differences from the baseline are over the same seeds, ± their standard error. A difference within two of
these is noise; a large spread is a run that had a spike early and stayed on a plateau for hundreds of steps. What an
idea alone is stands in `benchmarks/quality/base.yaml`. The baseline's learning rate is the best of a grid (below), and
ideas have it too, but for Muon, which has four times as much. Memory is the peak of the whole process. `{COMMAND}
--write docs/results/quality.md`; the runs on equal tokens took {spent / 60:.0f} minutes of one thread.

{chr(10).join(lines)}

![Ideas in equal time](quality.png)

At this size and budget, what saves memory at long context or parameters at scale has nothing to win: read it as "does
it cost something", not as a ranking for a 1B model.
"""


if __name__ == "__main__":
    main()
