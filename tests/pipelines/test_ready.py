"""A key that training will need is asked for before the data is made, through the command and through Dagster."""

from tests.pipelines.conftest import make_world


def test_a_missing_key_is_told_before_the_data_stages(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "NETRC", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    world = make_world(tmp_path)
    world.edit("tracking: {callbacks", "tracking: {wandb: online, callbacks")
    artifacts = tmp_path / "home" / "store" / "artifacts"
    for done in (world.asked("run", str(world.experiment)), world.materialized()):
        assert done.exit_code == 1
        assert "so nothing was started: tracking.wandb is 'online', but there is no" in done.output
        assert not artifacts.exists()
    world.pedigree("run", str(world.experiment), "--select", "raw_documents")
    done = world.materialized("micro/raw_documents")
    assert done.exit_code == 0, done.output
