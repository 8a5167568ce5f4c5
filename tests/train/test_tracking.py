import pytest

from llm_core.errors import PedigreeError
from llm_core.experiment.runtime import TrackingSpec
from llm_core.train.tracking import open_tracker, require_key
from tests.train.runs import run, trainer_spec
from tests.train.test_loop import StopAfter


def test_offline_writes_its_runs_into_the_work_folder_under_one_id(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    spec = trainer_spec(tmp_path, steps=6, tracking=TrackingSpec(wandb="offline"))
    run(spec, StopAfter(3))
    run(spec)
    identity = (spec.work / "wandb_run_id").read_text()
    runs = list((spec.work / "wandb").glob("offline-run-*"))
    assert len(runs) == 2
    assert all((folder / f"run-{identity}.wandb").stat().st_size for folder in runs)
    assert not (tmp_path / "home").exists()


def test_online_without_a_key_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(PedigreeError, match=r"tracking\.wandb is 'online', but there is no WANDB_API_KEY"):
        open_tracker(trainer_spec(tmp_path, tracking=TrackingSpec(wandb="online")))
    monkeypatch.setenv("WANDB_API_KEY", "a key")
    require_key(TrackingSpec(wandb="online"))
