"""The stage ``imported_model``: a finished model, and its tokenizer, as the start of this experiment's runs.

Every plan imports this module for its checks, so only functions that need torch import it.
"""

import shutil
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_core.errors import PedigreeError
from llm_core.experiment.chat import CHAT_FILE, TEMPLATE_FILE
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.start import StartSpec, shape_difference
from llm_core.experiment.tokens import TokenizerSpec, VocabularyFile
from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.model.results import ImportedModel
from llm_core.model.start_files import TOKENIZER, StartFiles, described, digests, find
from llm_core.store.digests import source_digest
from llm_core.tokens.importing import import_tokenizer

if TYPE_CHECKING:
    from torch import Tensor


def source_digests(
    start: StartSpec,
    model: ModelSpec,
    vocab_size: int,
    tokenizer: TokenizerSpec,
    template: str | None,
    families: tuple[str, ...],
) -> dict[str, str]:
    """The digests of the model's files, by name.

    The plan calls this. So a start with another model, vocabulary, tokenizer or chat template than the experiment's is
    an error before any work: ``PedigreeError`` with both values.
    """
    del families  # their code reads the files
    found = find(start)
    known = digests(found)
    _check_model(found, model, vocab_size)
    _check_tokenizer(found, known.get(TOKENIZER), tokenizer)
    there = found.template()
    if template is not None and there not in (None, template):
        raise PedigreeError(
            f"{found.place}: its model was tuned with another chat template than that of this experiment: give the "
            f"text of its {TEMPLATE_FILE} as template. It begins with {str(there)[:60]!r}, and this one with "
            f"{template[:60]!r}"
        )
    return known


def look_up(start: StartSpec, **_: Any) -> None:
    """Fetch the files of a model on the Hub, unless they are here."""
    find(start, ask=True)


def build(
    job: Job,
    start: StartSpec,
    model: ModelSpec,
    vocab_size: int,
    tokenizer: TokenizerSpec,  # noqa: ARG001
    template: str | None,  # noqa: ARG001
    families: tuple[str, ...],  # noqa: ARG001
) -> ImportedModel:
    """Write ``model.safetensors`` and ``model.json`` in fp32, and beside them the tokenizer and chat template."""
    from llm_core.model.build import build_model
    from llm_core.model.files import save_model

    found = find(start)
    about = described(found)
    network = build_model(model, vocab_size, device="meta")
    network.load_state_dict(_weights(found), assign=True)
    save_model(network, model, vocab_size, job.out)
    texts = (TEMPLATE_FILE, CHAT_FILE) if found.template() is not None else ()
    for name in (TOKENIZER, *texts):
        if name in found.files:
            shutil.copyfile(found.files[name], job.out / name)
    return ImportedModel(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        vocab_size=vocab_size,
        longest=about.longest,
        tokenizer_known=TOKENIZER in found.files,
        origin=dict(found.origin),
    )


def tokenizer_known(results: ImportedModel, bounds: ChecksSpec) -> Verdict:
    """The experiment's tokenizer is the one that the model was trained with."""
    del bounds
    return Verdict(
        results.tokenizer_known,
        "the model came with its tokenizer, and the experiment's is the same"
        if results.tokenizer_known
        else f"the model came without a {TOKENIZER}: nothing shows that the experiment's tokenizer is its own",
    )


def _weights(found: StartFiles) -> "Mapping[str, Tensor]":
    if found.native:
        from llm_core.model.files import load_model

        return load_model(found.folder)[0].state_dict()
    from llm_core.model.hf.importing import import_folder

    return import_folder(found.folder).weights


def _check_model(found: StartFiles, model: ModelSpec, vocab_size: int) -> None:
    there = described(found)
    if there.vocab_size != vocab_size:
        raise PedigreeError(
            f"tokenizer.vocab_size: {vocab_size}, but the model of {found.place} has {there.vocab_size} ids; write "
            f"{there.vocab_size}, or leave the section tokenizer out"
        )
    if different := shape_difference(there.spec, model):
        name, theirs, ours = different
        raise PedigreeError(
            f"model: {name} is {ours!r}, but {theirs!r} in {found.place}: leave the field out, or the whole section "
            "(`model: null` where it is inherited)"
        )


def _check_tokenizer(found: StartFiles, digest: str | None, spec: TokenizerSpec) -> None:
    """Raise unless the experiment's imported tokenizer gives the ids of the start's, which has this ``digest``."""
    assert spec.imported is not None
    ours = Path(spec.imported.file)
    try:
        same = digest in (None, source_digest(ours))
    except OSError as error:
        raise PedigreeError(f"tokenizer.imported.file: {ours}: can't be read: {error.strerror or error}") from None
    different = None if same else _different(found.files[TOKENIZER], spec)
    if different is not None:
        raise PedigreeError(
            f"tokenizer.imported.file: {ours} is another tokenizer than the {TOKENIZER} of {found.place}: {different}. "
            "Leave the section tokenizer out"
        )


def _different(theirs: Path, spec: TokenizerSpec) -> str | None:
    """In what two tokenizers differ; None if they give the same ids."""
    there = import_tokenizer(spec.model_copy(update={"imported": VocabularyFile(file=str(theirs))}))
    here = import_tokenizer(spec)
    for name in (field.name for field in fields(there)):
        old, new = getattr(there, name), getattr(here, name)
        if isinstance(old, Mapping) and old != new:
            key = next(key for key in (*old, *new) if old.get(key) != new.get(key))
            return f"{name}: {key!r} is {old.get(key)} there, and {new.get(key)} here"
        if old != new:
            return f"{name} is {str(old)[:80]} there, and {str(new)[:80]} here"
    return None
