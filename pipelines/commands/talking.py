"""Commands that talk to a trained model."""

import io
import sys
from typing import Annotated

import typer

from pipelines.commands.application import ExperimentName, ExperimentOption, StageOption, command
from pipelines.session import open_session

MaxTokens = Annotated[
    int | None, typer.Option(min=1, help="New tokens at most. By default, as many as the model's context leaves.")
]
Temperature = Annotated[float, typer.Option(help="0 always takes the most likely token.")]
TopK = Annotated[int | None, typer.Option(help="Only the k most likely tokens.")]
TopP = Annotated[float | None, typer.Option(help="Only the most likely tokens whose probabilities sum to p.")]
Penalty = Annotated[float, typer.Option(help="Above 1: tokens that were there become less likely. 0.1 to 10.")]
Seed = Annotated[int | None, typer.Option(min=0, max=2**63 - 1, help="The same seed gives the same text.")]
Stop = Annotated[list[str] | None, typer.Option(help="A text that ends the answer. Repeat it for several.")]
Retrieve = Annotated[
    int | None, typer.Option(min=1, max=20, help="The model reads so many passages of documents first, at most.")
]
Index = Annotated[
    str | None, typer.Option(help="The retrieval_index to search: its identity. By default, the experiment's own.")
]


def _aside(line: str) -> None:
    """Print what is not the output itself."""
    print(line, file=sys.stderr)


@command
def sample(
    prompt: Annotated[str, typer.Argument(help="The beginning of a text.")],
    experiment: ExperimentOption = "tiny",
    stage: StageOption = None,
    max_tokens: MaxTokens = 200,
    temperature: Temperature = 0.8,
    top_k: TopK = None,
    top_p: TopP = None,
    repetition_penalty: Penalty = 1.0,
    seed: Seed = None,
    stop: Stop = None,
    retrieve: Retrieve = None,
    index: Index = None,
) -> None:
    """Print how a trained model continues a text, token by token."""
    from pipelines import talking

    choice = talking.Choice(max_tokens, temperature, top_k, top_p, repetition_penalty, seed, stop or (), retrieve)
    talking.check_texts(choice, **{"the prompt": prompt})
    served = talking.open_served(open_session(experiment), stage, _aside, index, retrieve is not None)
    begun = served.cited_completion(prompt, retrieve, max_tokens)
    for piece in talking.texts(served, begun.ids, choice):
        print(piece, end="", flush=True)
    print()
    for line in talking.cited(begun):
        _aside(line)


@command
def chat(
    experiment: ExperimentName = "tiny",
    stage: StageOption = None,
    system: Annotated[str | None, typer.Option(help="A system line, which comes before the conversation.")] = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = 0.8,
    top_k: TopK = None,
    top_p: TopP = 0.95,
    repetition_penalty: Penalty = 1.0,
    seed: Seed = None,
    stop: Stop = None,
    retrieve: Retrieve = None,
    index: Index = None,
) -> None:
    """Talk to a trained model in the terminal."""
    from pipelines import talking

    def write(text: str) -> None:
        print(text, end="", flush=True)

    choice = talking.Choice(max_tokens, temperature, top_k, top_p, repetition_penalty, seed, stop or (), retrieve)
    talking.check_texts(choice, **{"--system": system})
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # a line that is no UTF-8 is an error of its turn only
    served = talking.open_served(open_session(experiment), stage, _aside, index, retrieve is not None)
    talking.chat(served, choice, system, input, write)


@command
def serve(
    experiment: ExperimentName = "tiny",
    stage: StageOption = None,
    host: Annotated[str, typer.Option(help="The address to listen at. By default, only this machine reaches it.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8000,
    rows: Annotated[int, typer.Option(min=1, max=256, help="Answers that are written at the same time.")] = 8,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Another name under which clients reach this server.")
    ] = None,
    index: Index = None,
) -> None:
    """Serve a trained model: a page to talk to it, and OpenAI's API."""
    from pipelines import talking

    talking.serve(
        open_session(experiment),
        stage,
        host=host,
        port=port,
        rows=rows,
        allowed=allow_host or (),
        index=index,
        tell=print,
    )
