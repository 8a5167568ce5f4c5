"""The inputs of reports: artifacts by role, and their typed results."""

from collections.abc import Mapping

from llm_core.data.results import (
    CleanDocuments,
    DecontaminatedDocuments,
    DocumentsResults,
    FunnelResults,
    JudgedDocuments,
    PretrainingDocuments,
    QualityClassifier,
    RawDocuments,
    UniqueDocuments,
)
from llm_core.evals.results import EvalResults
from llm_core.experiment.experiment import IMPORTED, LAUNCH_GATE
from llm_core.experiment.tuning import TUNINGS
from llm_core.model.results import ImportedModel
from llm_core.store.manifest import Artifact, GateRecord
from llm_core.study.results import (
    Ablations,
    BatchLaw,
    Forecast,
    MixtureStudy,
    NoiseLaw,
    RateStudy,
    ScalingLaw,
    StudyCost,
    SuiteForecast,
    SuiteSignal,
)
from llm_core.tokens.results import TokenShards, TrainedTokenizer
from llm_core.train.results import TrainingResults

Inputs = Mapping[str, Artifact]
"""Role → artifact. Test optional roles with ``in``."""

RAW, CLEAN, QUALITY, JUDGED = "raw_documents", "clean_documents", "quality_classifier", "judged_documents"
UNIQUE, DECONTAMINATED, SPLIT = "unique_documents", "decontaminated_documents", "pretraining_documents"
TOKENIZER, SHARDS, TRAINED, EVALUATED = "tokenizer", "token_shards", "pretrained_model", "eval_results"
NOISE, RATES, BATCHES, LAW, IDEAS = "noise_law", "rate_law", "batch_law", "scaling_law", "ablation_report"
MIXTURES, SUITE_SIGNAL, FORECAST, SUITE_FORECAST = "mixture_law", "suite_signal", "forecast", "suite_forecast"
COST = "study_cost"
RETRIEVAL = "retrieval_eval"
TEST_TIME = "test_time_compute"
TUNED = tuple(f"{name}_model" for name in TUNINGS)


def raw(inputs: Inputs) -> RawDocuments:
    """The results of reading the sources."""
    return inputs[RAW].results(RawDocuments)


def clean(inputs: Inputs) -> CleanDocuments:
    """The results of cleaning."""
    return inputs[CLEAN].results(CleanDocuments)


def quality(inputs: Inputs) -> QualityClassifier:
    """The results of training the quality classifier."""
    return inputs[QUALITY].results(QualityClassifier)


def judged(inputs: Inputs) -> JudgedDocuments:
    """The results of judging by the quality classifier."""
    return inputs[JUDGED].results(JudgedDocuments)


def unique(inputs: Inputs) -> UniqueDocuments:
    """The results of deduplication."""
    return inputs[UNIQUE].results(UniqueDocuments)


def decontaminated(inputs: Inputs) -> DecontaminatedDocuments:
    """The results of decontamination."""
    return inputs[DECONTAMINATED].results(DecontaminatedDocuments)


def split(inputs: Inputs) -> PretrainingDocuments:
    """The two splits."""
    return inputs[SPLIT].results(PretrainingDocuments)


def tokenizer(inputs: Inputs) -> TrainedTokenizer:
    """The tokenizer."""
    return inputs[TOKENIZER].results(TrainedTokenizer)


def shards(inputs: Inputs) -> TokenShards:
    """The token shards."""
    return inputs[SHARDS].results(TokenShards)


def trained(inputs: Inputs) -> TrainingResults:
    """The full run."""
    return inputs[TRAINED].results(TrainingResults)


def imported(inputs: Inputs) -> ImportedModel | None:
    """The model that the first run starts from; None for new weights."""
    return inputs[IMPORTED].results(ImportedModel) if IMPORTED in inputs else None


def evaluated(inputs: Inputs) -> EvalResults:
    """The evaluation."""
    return inputs[EVALUATED].results(EvalResults)


def left(artifact: Artifact) -> DocumentsResults:
    """The results of a stage that returns documents."""
    return artifact.results(DocumentsResults)


def funnel(artifact: Artifact) -> FunnelResults:
    """The results of a stage that drops documents."""
    return artifact.results(FunnelResults)


def run(artifact: Artifact) -> TrainingResults:
    """A training run."""
    return artifact.results(TrainingResults)


def noise(inputs: Inputs) -> NoiseLaw | None:
    """The noise between seeds; None without a study, as for all that follows."""
    return inputs[NOISE].results(NoiseLaw) if NOISE in inputs else None


def rates(inputs: Inputs) -> RateStudy | None:
    """The sweeps of learning rates."""
    return inputs[RATES].results(RateStudy) if RATES in inputs else None


def batches(inputs: Inputs) -> BatchLaw | None:
    """The noise scale of the gradients."""
    return inputs[BATCHES].results(BatchLaw) if BATCHES in inputs else None


def law(inputs: Inputs) -> ScalingLaw | None:
    """The scaling law."""
    return inputs[LAW].results(ScalingLaw) if LAW in inputs else None


def ideas(inputs: Inputs) -> Ablations | None:
    """The ideas against the launched recipe."""
    return inputs[IDEAS].results(Ablations) if IDEAS in inputs else None


def mixtures(inputs: Inputs) -> MixtureStudy | None:
    """The search for the weights of the sources."""
    return inputs[MIXTURES].results(MixtureStudy) if MIXTURES in inputs else None


def forecast(inputs: Inputs) -> Forecast | None:
    """The forecast of the full run."""
    return inputs[FORECAST].results(Forecast) if FORECAST in inputs else None


def study_cost(inputs: Inputs) -> StudyCost | None:
    """Hours and dollars of the study."""
    return inputs[COST].results(StudyCost) if COST in inputs else None


def suite_signal(inputs: Inputs) -> SuiteSignal | None:
    """Which suite can decide at which size; None for a study that evaluates no runs."""
    return inputs[SUITE_SIGNAL].results(SuiteSignal) if SUITE_SIGNAL in inputs else None


def suite_forecast(inputs: Inputs) -> SuiteForecast | None:
    """The forecast of the full run's scores on the suites."""
    return inputs[SUITE_FORECAST].results(SuiteForecast) if SUITE_FORECAST in inputs else None


def launched_with(inputs: Inputs) -> GateRecord | None:
    """The launch gate in the manifest of the full run, as it was sealed when the run began; None for a run without."""
    found = inputs[TRAINED].manifest.gates if TRAINED in inputs else []
    return next((record for record in found if record.stage == LAUNCH_GATE), None)


def result(inputs: Inputs) -> float | None:
    """The held-out bits per byte of the full run; None for one that diverged, or is not there."""
    return trained(inputs).final_validation_bits_per_byte if TRAINED in inputs else None
