from llm_core.experiment.runtime import AskSpec, ComputeSpec, KeepSpec, TrackingSpec
from llm_core.graph.plan import PlanItem
from llm_core.graph.price import Price
from pipelines.progress import live_metrics
from pipelines.resources import ComputeResource, TrackingResource
from pipelines.show import plan_record, plan_table, query_lines


def test_a_step_without_a_loss_is_told_as_such() -> None:
    assert live_metrics({"loss": 3.14159, "tokens_per_second": 1234.5}) == "loss 3.142, 1,234 tokens/s"
    assert live_metrics({"loss": None, "tokens_per_second": 10.0}) == "no loss, 10 tokens/s"


def test_the_held_out_text_is_told_in_nats_and_in_bits_per_byte() -> None:
    validated = {"loss": 3.0, "tokens_per_second": 10.0, "validation_loss": 3.25}
    assert live_metrics(validated) == "loss 3.000, held out 3.250, 10 tokens/s"
    told = live_metrics({**validated, "validation_bits_per_byte": 1.0625})
    assert told == "loss 3.000, held out 3.250 (1.062 bits per byte), 10 tokens/s"


def test_all_of_tracking_reaches_a_run_in_dagster() -> None:
    for tracking in (
        TrackingSpec(),
        TrackingSpec(wandb="offline", callbacks={"samples": {"every": 3}, "profile": {}}),
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
    assert list(query_lines(["n"], [])) == list(query_lines(["n"], [[]])) == ["n", "no rows"]


def test_all_of_compute_reaches_a_run_in_dagster() -> None:
    for compute in (
        ComputeSpec(),
        ComputeSpec(ask_above=AskSpec(hours=2.0, dollars=None), keep=KeepSpec(best=1), workers=2),
    ):
        assert ComputeResource.of(compute).spec() == compute
    never = ComputeResource.of(ComputeSpec(ask_above=None)).spec()
    assert never.ask_above == AskSpec(hours=None, dollars=None)


def test_a_plan_has_prices_and_their_sum() -> None:
    items = [
        PlanItem("a", "hit", [], "i"),
        PlanItem("b", "run", ["code x changed"], "j", seconds=7200.0),
        PlanItem("c", "maybe", ["made only if an input changes: b"]),
        PlanItem("d", "run", ["never made before"]),
    ]
    costs = {"b": Price(2.0, 41.0, "last time"), "c": Price(0.5, None, "last time"), "d": Price()}
    table = plan_table(items, costs)
    assert table.caption == (
        "4 stages: 1 hit (reused), 2 run (to be made), 1 maybe (made only if an input changes)\n"
        "price (expected time and cost): 2 h 30 min, $41.00, and 1 stage unknown; of this, maybe: 30 min 00 s"
    )
    column = next(column for column in table.columns if column.header == "price")
    assert list(column.cells) == ["", "2 h 00 min, $41.00", "30 min 00 s", "unknown"]
    record = plan_record(items[1], costs["b"])
    assert (record["price_hours"], record["price_dollars"], record["priced_by"]) == (2.0, 41.0, "last time")
    assert plan_record(items[0], None)["price_hours"] is None
    assert plan_table(items[:1], {}).caption == "1 stage: 1 hit (reused)"
