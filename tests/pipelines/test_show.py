from llm_core.experiment.runtime import ProfileSpec, SamplesSpec, TrackingSpec
from pipelines.progress import live_figures
from pipelines.resources import TrackingResource
from pipelines.show import query_lines


def test_a_step_without_a_loss_is_told_as_such() -> None:
    assert live_figures({"loss": 3.14159, "tokens_per_second": 1234.5}) == "loss 3.142, 1,234 tokens/s"
    assert live_figures({"loss": None, "tokens_per_second": 10.0}) == "no loss, 10 tokens/s"


def test_the_held_out_text_is_told_in_nats_and_in_bits_per_byte() -> None:
    validated = {"loss": 3.0, "tokens_per_second": 10.0, "validation_loss": 3.25}
    assert live_figures(validated) == "loss 3.000, held out 3.250, 10 tokens/s"
    told = live_figures({**validated, "validation_bits_per_byte": 1.0625})
    assert told == "loss 3.000, held out 3.250 (1.062 bits per byte), 10 tokens/s"


def test_all_of_tracking_reaches_a_run_in_dagster() -> None:
    for tracking in (
        TrackingSpec(),
        TrackingSpec(wandb="offline", samples=SamplesSpec(every=3), profile=ProfileSpec(from_step=2)),
    ):
        assert TrackingResource(**tracking.model_dump()).spec() == tracking


def test_values_of_a_query_are_whole_and_in_one_line() -> None:
    long = "word " * 100 + "end"
    chunks = [[(1, long, None)], [(22.5, "a\nb\x00", [1, "日本"])]]
    assert list(query_lines(["n", "text", "日本語"], chunks)) == [
        f"n  text{' ' * 499}  日本語".replace("  日", "  日"),
        f"─  {'─' * 503}  ──────",
        f"1  {long}  NULL",
        f"22.5  {'a' + chr(92) + 'nb' + chr(92) + 'u0000'}{' ' * (503 - 10)}  [1, '日本']",
    ]
    assert list(query_lines(["n"], [])) == ["n", "no rows"]
