"""What a card says of weights that were trained elsewhere."""

from pathlib import Path

import yaml

from llm_core.graph.lineage import ORIGIN, Ancestor
from llm_core.model.results import ImportedModel
from llm_core.report.model_card import model_card
from llm_core.store.manifest import Artifact, InputRecord
from pipelines.exchange import _lineage
from tests.model import shapes
from tests.report.conftest import artifact

REVISION = "0123456789abcdef0123456789abcdef01234567"
HUB = {"hugging_face": "owner/small", "revision": REVISION, "family": "falcon"}
HERE = {"experiment": "base", "stage": "pretrained_model", "identity": "a" * 32}


def imported(folder: Path, origin: dict[str, str]):
    found = ImportedModel(parameters=1234, vocab_size=300, longest=None, tokenizer_known=True, origin=origin)
    return artifact(
        folder,
        "imported_model",
        found.model_dump(),
        config={"model": shapes.spec().model_dump(mode="json")},
        source_digests={"model.safetensors": "abc"},
    )


def card_of(made, **options) -> tuple[dict, str]:
    _, front, card = model_card("mine", made, {"imported_model": made}, **options).split("---\n", 2)
    return yaml.safe_load(front), card


def test_an_imported_model_tells_where_it_is_from_and_what_is_not_known(tmp_path: Path) -> None:
    front, card = card_of(imported(tmp_path / "hub", HUB), owners=("team@example.org",))
    assert front["base_model"] == "owner/small"
    for row in (
        f"| From | `owner/small` at `{REVISION}` on the Hugging Face Hub |",
        "| Family | `falcon` |",
        "| Their licence | not recorded; look where they are from |",
        "| Their training data | not recorded; look where they are from |",
        "| Digest of `model.safetensors` | `abc` |",
        "| Tokens of the longest text | not recorded |",
    ):
        assert row in card
    assert "trained elsewhere, and imported into Pedigree" in card
    assert "## Training\n" not in card
    assert "pedigree why" not in card
    front, card = card_of(imported(tmp_path / "folder", {"folder": "/home/somebody/small"}))
    assert "base_model" not in front
    assert "| From | a folder, `small` |" in card
    assert "somebody" not in card


def test_a_run_that_started_from_it_has_both_parts(report_job, tmp_path: Path) -> None:
    trained = report_job().inputs["pretrained_model"]
    assert "elsewhere" not in model_card("mine", trained, {"pretrained_model": trained})
    talks = {"name": "talks", "repo": "owner/talks", "revision": REVISION, "files": ["*"], "license": "MIT"}
    stats = {"conversations_by_source": {"talks": 12}}
    read = artifact(tmp_path / "talks", "conversations", stats, config={"sources": [talks]})
    lineage = {"pretrained_model": trained, "imported_model": imported(tmp_path / "start", HUB), "chat": read}
    card = model_card("mine", trained, lineage)
    assert "tokens, from weights that were trained elsewhere." in card
    assert card.index("| From | `owner/small`") < card.index("## Data")
    assert "## Training\n" in card
    assert "It is not known here which texts the weights that were trained elsewhere have read." in card
    assert "pedigree why" in card
    assert f"| talks | `owner/talks` at `{REVISION[:12]}` | MIT | 12 |" in card
    assert "datasets:\n- owner/talks\n" in card


def test_a_model_of_another_experiment_brings_its_sources_and_licences_and_not_its_stages(
    report_job, tmp_path: Path
) -> None:
    source = {"name": "law", "kind": "files", "license": "CC0-1.0"}
    theirs = artifact(tmp_path / "raw", "raw_documents", {}, config={"raw": {"sources": [source]}})
    shown = report_job().inputs["pretrained_model"]
    first = Artifact(shown.path, shown.manifest.model_copy(update={"kind": "training_run"}))
    origin = Ancestor(ORIGIN, first, [Ancestor("documents", theirs, [])])
    made = imported(tmp_path / "start", HERE)
    assert _lineage(Ancestor("", made, [origin])) == {"imported_model": made}
    began = _lineage(origin)
    assert began == {"pretrained_model": first, "raw_documents": theirs}
    _, card = card_of(made, began=began)
    assert f"| From | `base/pretrained_model` of this store, `{'a' * 32}` |" in card
    assert "| Their licence | those of its sources, below |" in card
    assert "| law | files | CC0-1.0 |" in card
    assert f"| Their training | {first.stats['tokens']:,} tokens in pretrained model |" in card


def test_a_tuned_model_tells_all_its_training_and_what_each_loss_is_of(report_job, tmp_path: Path) -> None:
    base = report_job().inputs["pretrained_model"]
    stats = {**base.manifest.stats, "start_validation_loss": 0.6931, "final_validation_loss": 0.5, "tokens": 4_000}

    def tuned(stage: str, start: str, **training: object):
        config = {**base.manifest.config, "training": {**base.manifest.config["training"], **training}}
        inputs = [InputRecord(role="start", stage=start, identity="s", content="c")]
        return artifact(tmp_path / stage, stage, stats, kind="training_run", config=config, inputs=inputs)

    chat, preferred = (
        tuned("chat_model", "pretrained_model"),
        tuned("preference_model", "chat_model", dpo={"beta": 0.1}),
    )
    books = {"name": "books", "kind": "files", "license": "CC-BY-NC-4.0"}
    talks = artifact(
        tmp_path / "talks",
        "chat_conversations",
        {"conversations_by_source": {"books": 7, "jokes": 2, "tales": 1}},
        kind="conversations",
        config={
            "sources": [{"name": "books", "license": "MIT"}, {"name": "jokes"}, {"name": "tales", "license": "MIT"}]
        },
    )
    raw = artifact(tmp_path / "raw", "raw_documents", {}, config={"raw": {"sources": [books]}})
    lineage = {one.manifest.stage: one for one in (preferred, chat, base, talks, raw)}
    tokens = base.stats["tokens"]
    today = {("chat_conversations", "jokes"): "CC0-1.0", ("chat_conversations", "tales"): None}
    card = model_card("mine", preferred, lineage, licences=today)
    assert f"| Training tokens | {tokens + 8_000:,} |" in card
    assert "in pretrained model, then 4.00k in chat model, then 4.00k in preference model)" in card
    assert "| 0.6931 → 0.5000 (of answers) |" in card
    assert "| 0.6931 → 0.5000 (of preferences (DPO)) |" in card
    assert "(of text) |" in card
    assert "| chat conversations | books | files | MIT | 7 |" in card  # and not that of the documents of this name
    assert "| chat conversations | jokes | files | CC0-1.0 | 2 |" in card  # what the experiment says today
    assert "| chat conversations | tales | files | not recorded | 1 |" in card
