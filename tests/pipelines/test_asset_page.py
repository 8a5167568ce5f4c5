"""What Dagster shows of assets and runs."""

from graphlib import TopologicalSorter
from pathlib import Path

import dagster as dg
import pytest

from assets.graph import experiment_graph
from pipelines.as_asset import EXPERIMENT_TAG
from pipelines.definitions import definitions
from pipelines.experiments import FOLDER, open_experiment
from tests.pipelines.conftest import HERE, World


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_no_two_groups_wait_for_each_other(path: Path) -> None:
    graph = experiment_graph(open_experiment(str(path)))
    group = {stage.name: stage.group for stage in graph}
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for stage in graph:
        sorter.add(stage.group, *({group[name] for name in stage.inputs.values()} - {stage.group}))
    sorter.prepare()  # raises for a circle


def test_assets_have_badges_and_what_the_experiment_says_of_them() -> None:
    specs = {spec.key.path[-1]: spec for spec in definitions(str(HERE / "micro.yaml")).resolve_all_asset_specs()}
    assert all(spec.kinds for spec in specs.values())
    assert specs["pretrained_model"].kinds == {"pytorch"}
    assert specs["data_report"].kinds == specs["training_report"].kinds == {"report"}
    for spec in specs.values():
        assert list(spec.owners) == ["team@example.org"]
        assert spec.tags["project"] == "rivers"


def test_a_run_has_tags_and_its_assets_tell_loss_and_report(finished: World) -> None:
    with dg.DagsterInstance.from_config(str(finished.folder / "home" / "dagster")) as instance:
        assert all(
            run.tags[EXPERIMENT_TAG] == "micro" and run.tags["project"] == "rivers" for run in instance.get_runs()
        )

        def told(stage: str) -> dict[str, dg.MetadataValue]:
            event = instance.get_latest_materialization_event(dg.AssetKey(["micro", stage]))
            assert event is not None
            assert event.asset_materialization is not None
            return dict(event.asset_materialization.metadata)

        assert str(told("pretrained_model")["loss_curve"].value).startswith("![loss_curve](data:image/png;base64,")
        assert str(told("training_report")["report"].value).endswith("/report.html")
        assert str(told("data_report")["report"].value).endswith("/data_report.html")
        assert "report" not in told("token_shards")
