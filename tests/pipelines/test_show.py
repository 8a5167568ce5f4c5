from llm_core.experiment.runtime import ProfileSpec, SamplesSpec, TrackingSpec
from pipelines.progress import live_figures
from pipelines.resources import TrackingResource


def test_a_step_without_a_loss_is_told_as_such() -> None:
    assert live_figures({"loss": 3.14159, "tokens_per_second": 1234.5}) == "loss 3.142, 1,234 tokens/s"
    assert live_figures({"loss": None, "tokens_per_second": 10.0}) == "no loss, 10 tokens/s"


def test_all_of_tracking_reaches_a_run_in_dagster() -> None:
    for tracking in (
        TrackingSpec(),
        TrackingSpec(wandb="offline", samples=SamplesSpec(every=3), profile=ProfileSpec(from_step=2)),
    ):
        assert TrackingResource(**tracking.model_dump()).spec() == tracking
