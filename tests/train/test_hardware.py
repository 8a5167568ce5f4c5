import pytest
import torch

from llm_core.train.hardware import peak_flops, reshards
from llm_core.train.this_machine import this_machine


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA H200 NVL", 835e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("Tesla T4", None),
    ],
)
def test_a_device_has_the_peak_of_its_kind(name: str, peak: float | None) -> None:
    assert peak_flops(name) == peak


def test_gathered_parameters_stay_where_they_take_little():
    assert [reshards(setting, 100, 1000) for setting in ("auto", "always", "never")] == [False, True, False]
    assert [reshards(setting, 101, 1000) for setting in ("auto", "always", "never")] == [True, True, False]


def test_only_newer_gpus_have_fp8(monkeypatch):
    class Found:
        name, major, total_memory = "a GPU", 8, 1000

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Found)
    for minor, expected in ((6, False), (9, True)):
        Found.minor = minor
        found = this_machine()
        assert (found.fp8, found.on_cpu) == (expected, False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert (this_machine().fp8, this_machine().on_cpu) == (False, True)
