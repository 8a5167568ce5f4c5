"""The model that a run starts from, in the training report."""

from pathlib import Path

from llm_core.model.results import ImportedModel
from llm_core.report import facts
from llm_core.report.blocks import Text
from llm_core.report.sections.run import settings
from llm_core.report.sections.start import start
from llm_core.report.training_report import PAGE, build
from tests.report.conftest import artifact, cells, job_of, run_stats
from tests.report.test_tuning import ROW

IMPORTED = ImportedModel(
    parameters=1234, vocab_size=300, longest=128, tokenizer_known=True, origin={"folder": "/home/somebody"}
).model_dump()


def imported(folder: Path):
    return artifact(folder, "imported_model", IMPORTED, source_digests={"model.safetensors": "abc"})


def test_a_run_that_starts_from_a_model_is_beside_it(report_job, tmp_path: Path) -> None:
    run = artifact(
        tmp_path / "run",
        "pretrained_model",
        run_stats(start_validation_loss=3.5),
        config=report_job().inputs["pretrained_model"].manifest.config,
    )
    compared = {"models": {"pretrained_model": [ROW]}, "forgotten": {"pretrained_model": 0.1}}
    inputs = {
        "imported_model": imported(tmp_path / "start"),
        "pretrained_model": run,
        "start_comparison": artifact(tmp_path / "compared", "tuning_comparison", compared),
    }
    job = job_of(inputs, tmp_path)
    told = [block.pieces[0] for block in start(job).blocks if isinstance(block, Text)]
    assert "2.0000 at the start, 2.2000 after the run; the run has made it worse at this text" in told[0]
    assert cells(start(job), "pretrained_model")[0][2:5] == ["2.0000", "2.2000", "+0.2000"]
    assert ("Validation loss, start", "3.5000") in settings(job.inputs)
    assert not list(facts.continued(job.inputs))
    assert start(job_of({}, tmp_path)) is None


def test_a_model_that_is_only_tuned_has_a_report_without_a_full_run(report_job, told, tmp_path: Path) -> None:
    left_out = dict.fromkeys(name for name in told if name == "pretrained_model" or told[name].stats.get("curve"))
    job = report_job(**left_out, imported_model=imported(tmp_path / "start"))
    results = build(job, "mine", 2.0, sections={})
    assert (results.parameters, results.tokens, results.seconds_training) == (1234, None, None)
    page = (job.out / PAGE).read_text()
    assert "A language model of 1.23k parameters, trained elsewhere." in page
    assert "Digest of model.safetensors" in page
    assert "/home/somebody" not in page
