import time

import pytest
import torch

from llm_core.train.devices.cpu import CPU as CPU_TYPE
from llm_core.train.devices.cuda import CUDA
from llm_core.train.metrics_readback import MetricsReadback

CPU = torch.device("cpu")


def test_on_a_cpu_figures_are_there_at_once_and_in_order():
    reader = MetricsReadback(CPU, CPU_TYPE.synchronize)
    for step in (1, 2):
        begin = reader.mark()
        time.sleep(0.01)
        reader.put(
            {"step": step},
            {"loss": torch.tensor(0.1), "sum": torch.tensor(step / 3, dtype=torch.float64)},
            begin,
            reader.mark(),
        )
        (metrics,) = reader.ready()
        assert (metrics["step"], metrics["loss"], metrics["sum"]) == (step, torch.tensor(0.1).item(), step / 3)
        assert 0.01 <= metrics["seconds"] < 1
    assert list(reader.drain()) == []


def test_the_time_of_a_step_includes_the_work_that_the_device_has_not_done(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def synchronize():
        clock[0] += queued.pop()

    reader, queued = MetricsReadback(CPU, synchronize), [3.0, 0.5]
    reader.put({}, {"loss": torch.zeros(())}, reader.mark(), reader.mark())
    assert next(reader.drain())["seconds"] == 3.0


def test_what_is_measured_is_copied_at_once():
    reader = MetricsReadback(CPU, CPU_TYPE.synchronize)
    loss = torch.zeros(())
    reader.put({}, {"loss": loss}, 0.0, 1.0)
    loss += 1
    assert next(reader.drain()) == {"loss": 0.0, "seconds": 1.0}


def test_what_is_forgotten_never_arrives():
    reader = MetricsReadback(CPU, CPU_TYPE.synchronize)
    reader.put({}, {"loss": torch.zeros(())}, 0.0, 1.0)
    reader.forget()
    assert list(reader.ready()) == []


@pytest.mark.gpu
def test_on_cuda_figures_come_with_a_fixed_lag_and_the_device_is_timed():
    device = torch.device("cuda")
    reader = MetricsReadback(device, CUDA.synchronize, lag=2)
    came = []
    for step in range(5):
        begin = reader.mark()
        value = (torch.ones(2048, 2048, device=device) @ torch.ones(2048, 2048, device=device))[0, 0]
        reader.put({"step": step}, {"loss": value}, begin, reader.mark())
        came.append([metrics["step"] for metrics in reader.ready()])
    assert came == [[], [], [0], [1], [2]]
    rest = list(reader.drain())
    assert [metrics["step"] for metrics in rest] == [3, 4]
    assert all(metrics["loss"] == 2048 and metrics["seconds"] > 0 for metrics in rest)
