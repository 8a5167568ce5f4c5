import json
import resource
import zlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from llm_core.errors import PedigreeError
from llm_core.experiment.component import over
from llm_core.model.files import INFO, WEIGHTS, load_model, read_info, save_model
from tests.model.shapes import VOCAB, model, spec, tokens


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(model(spec()), spec(), VOCAB, tmp_path, step=7, tokens=700)
    return tmp_path


@pytest.mark.parametrize("tied", [True, False])
def test_round_trip(tmp_path: Path, tied: bool) -> None:
    shape = spec(tie_embeddings=tied)
    built = model(shape)
    save_model(built, shape, VOCAB, tmp_path / "new" / "folder", step=7)
    loaded, info = load_model(tmp_path / "new" / "folder")
    assert (info["vocab_size"], info["step"]) == (VOCAB, 7)
    assert read_info(tmp_path / "new" / "folder")[0] == shape
    for (name, a), (other, b) in zip(built.named_parameters(), loaded.named_parameters(), strict=True):
        assert name == other
        assert torch.equal(a, b)
        assert b.requires_grad
    assert (loaded.head_weight is loaded.embedding.weight) == tied
    assert torch.equal(built(tokens(1, 5)), loaded(tokens(1, 5)))


def test_equal_weights_give_equal_bytes(folder: Path, tmp_path: Path) -> None:
    save_model(model(spec()), spec(), VOCAB, tmp_path / "again", tokens=700, step=7)
    for name in (WEIGHTS, INFO):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize("name", [WEIGHTS, INFO])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
def test_a_file_cut_short(folder: Path, name: str, share: float) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(PedigreeError, match=name):
        load_model(folder)


def test_a_full_disk_is_an_operating_system_error(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_model(model(spec()), spec(), VOCAB, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / INFO).exists()


@pytest.mark.parametrize("name", [WEIGHTS, INFO])
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(PedigreeError, match=f"{name}: there is no such file"):
        load_model(folder)


@pytest.mark.parametrize("position", [0, 7, 40, 5000, -1])
def test_a_flipped_bit(folder: Path, position: int) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[position] ^= 0x01
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(PedigreeError, match=f"{WEIGHTS}: cut short, damaged"):
        load_model(folder)


def rewrite(folder: Path, content: bytes) -> None:
    """Other weights, with a checksum that agrees."""
    (folder / WEIGHTS).write_bytes(content)
    description = json.loads((folder / INFO).read_text())
    (folder / INFO).write_text(json.dumps({**description, "weights_crc32": zlib.crc32(content)}))


def test_a_value_that_is_not_finite(folder: Path) -> None:
    rewrite(folder, (folder / WEIGHTS).read_bytes()[:-4] + b"\x00\x00\x80\x7f")  # infinity, little-endian
    with pytest.raises(PedigreeError, match="not finite"):
        load_model(folder)


def test_no_safetensors_file(folder: Path) -> None:
    rewrite(folder, b"x" * 1000)
    with pytest.raises(PedigreeError, match="not readable as weights"):
        load_model(folder)


def test_weights_of_another_model(folder: Path) -> None:
    description = json.loads((folder / INFO).read_text())
    for change, message in [
        ({"feed_forward": {"d_ff": 40}}, r"\(32, 48\).*\(32, 40\)"),
        ({"n_layers": 3}, "blocks.2"),
    ]:
        other = over(description, {"spec": change})
        (folder / INFO).write_text(json.dumps(other))
        with pytest.raises(PedigreeError, match=message):
            load_model(folder)


def test_weights_of_another_type(folder: Path) -> None:
    rewrite(folder, save({name: tensor.bfloat16() for name, tensor in load_file(folder / WEIGHTS).items()}))
    with pytest.raises(PedigreeError, match="bfloat16"):
        load_model(folder)


@pytest.mark.parametrize("text", ["[]", "{}", "3", '{"spec": {"d_model": 32}, "vocab_size": 50}', '{"spec": 1}'])
def test_a_description_of_no_model(folder: Path, text: str) -> None:
    (folder / INFO).write_text(text)
    with pytest.raises(PedigreeError, match=f"{INFO}: not the description"):
        load_model(folder)
