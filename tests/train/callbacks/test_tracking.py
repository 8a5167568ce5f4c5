import pytest

from llm_core.errors import PedigreeError
from llm_core.experiment.runtime import TrackingSpec
from llm_core.train.callbacks.tracking import _run_id, _start_wandb
from llm_core.train.requirements import check_tracking
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


@pytest.fixture
def _without_a_key(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "NETRC", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.usefixtures("_without_a_key")
def test_online_without_a_key_is_refused(tmp_path, monkeypatch):
    with pytest.raises(PedigreeError, match=r"tracking\.wandb is 'online', but there is no WANDB_API_KEY"):
        _start_wandb(trainer_spec(tmp_path, tracking=TrackingSpec(wandb="online")))
    monkeypatch.setenv("WANDB_API_KEY", "a key")
    check_tracking(TrackingSpec(wandb="online"))


@pytest.mark.usefixtures("_without_a_key")
def test_a_key_may_lie_in_netrc_for_the_server_that_is_used(tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    check_tracking(TrackingSpec(wandb="online"))
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example:8080/x")
    with pytest.raises(PedigreeError, match=r"no key for wandb\.example:8080 in ~/\.netrc"):
        check_tracking(TrackingSpec(wandb="online"))
    (tmp_path / ".netrc").write_text("not a netrc file")
    with pytest.raises(PedigreeError, match="WANDB_API_KEY"):
        check_tracking(TrackingSpec(wandb="online"))


def test_a_package_that_is_missing_is_told_before_work(monkeypatch):
    monkeypatch.setattr("llm_core.train.requirements.find_spec", lambda _: None)
    for mode in ("offline", "online"):
        with pytest.raises(PedigreeError, match=f"tracking.wandb is '{mode}', but the package wandb is not installed"):
            check_tracking(TrackingSpec(wandb=mode))
    check_tracking(TrackingSpec())


def test_an_id_that_was_cut_short_is_made_anew(tmp_path):
    (tmp_path / "wandb_run_id").write_text("0bad")
    identity = _run_id(tmp_path / "wandb_run_id")
    assert len(identity) == 12
    assert _run_id(tmp_path / "wandb_run_id") == identity
