"""A GGUF file that is kept only if llama.cpp, where it is installed, computes what ours does."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from llm_core.experiment.exports import GGUFType
from llm_core.model.decoder import Decoder
from llm_core.model.gguf.llama_client import check
from llm_core.model.gguf.results import BOUND, GGUFFile
from llm_core.model.gguf.writing import export_gguf
from llm_core.registries import HF_FAMILIES


def write_checked(
    model: Decoder,
    path: Path,
    *,
    sequence_length: int,
    dtype: GGUFType,
    tokenizer: Path,
    template: str | None = None,
    stop: Sequence[int] = (),
    name: str = "",
    families: Iterable[str] = HF_FAMILIES,
) -> tuple[str, GGUFFile]:
    """llama.cpp's name of the architecture, and what was found. The arguments are those of ``export_gguf``.

    llama.cpp is asked for the same model in fp32 first: rounding moves logits too much to tell right from wrong.
    """

    def write(place: Path, kind: GGUFType) -> str:
        return export_gguf(
            model,
            place,
            sequence_length=sequence_length,
            dtype=kind,
            tokenizer=tokenizer,
            template=template,
            stop=stop,
            name=name,
            families=families,
        )

    architecture, rounded = write(path, "f32"), None
    exact = check(path, model, tokenizer)
    refused = bool(exact.problems(BOUND))
    if dtype != "f32" and not refused:
        write(path, dtype)
        rounded = check(path, model, tokenizer)
        refused = rounded.problem is not None or bool(rounded.different_ids)
    if refused:
        path.unlink()
    return architecture, GGUFFile(name=path.name, dtype=dtype, exact=exact, rounded=rounded, refused=refused)
