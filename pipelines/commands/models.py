"""Commands for models: their layers, and their way to other programs."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.application import ExperimentName, StageOption, command, console
from pipelines.session import open_session


@command
def model(
    name: Annotated[str, typer.Argument(help="A preset (see docs/models.md), or an experiment.")] = "tiny",
    vocab_size: Annotated[
        int | None, typer.Option(min=1, help="The size of the vocabulary. By default the experiment's, or 65,536.")
    ] = None,
    sequence_length: Annotated[
        int | None, typer.Option(min=1, help="Tokens per sequence. By default the experiment's, or 2,048.")
    ] = None,
) -> None:
    """Show the layers of a model, and its parameters, FLOPs and cache. Builds nothing."""
    from pipelines import show_model

    console.print(show_model.page(show_model.described(name, vocab_size, sequence_length)))


@command
def export(
    experiment: ExperimentName,
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    stage: StageOption = None,
    form: Annotated[
        str,
        typer.Option(
            "--format", help="hf: a folder for transformers. gguf: a file for llama.cpp. onnx: a graph for onnxruntime."
        ),
    ] = "hf",
    dtype: Annotated[
        str | None,
        typer.Option(help="The type of the weights. hf: fp32 (as in training) or bf16. gguf: f16, q8_0 or f32."),
    ] = None,
) -> None:
    """Write a trained model and its tokenizer for other programs."""
    from pipelines import exchange

    print(exchange.export(open_session(experiment), stage, folder, form, dtype))


@command
def import_model(
    folder: Annotated[Path, typer.Argument(help="A Hugging Face folder: config.json and safetensors.")],
    out: Annotated[Path, typer.Argument(help="A new folder for the model, in the format of the training stages.")],
) -> None:
    """Convert a Hugging Face folder into a model folder of Pedigree."""
    from pipelines import exchange

    print(exchange.import_model(folder, out))
