import pytest

from llm_core.store.manifest import GateRecord
from llm_core.train.forecast_band import ForecastBand

CURVE = [{"step": 100, "low": 1.0, "high": 1.2}, {"step": 400, "low": 0.8, "high": 1.0}]


def record(**results):
    fields = {"identity": "1", "content": "2", "made": "now", "checks": [], "launched": "now", "passed": "open"}
    return GateRecord(stage="launch_gate", results=results, **fields)


def watched(losses, gates):
    said, seen = [], []
    observe = ForecastBand(gates, 500, said.append).watching(seen.append)
    for step, loss in losses.items():
        observe({"step": step, "validation_bits_per_byte": loss})
    assert [metrics["step"] for metrics in seen] == list(losses)
    return said


def test_the_band_lies_between_the_steps_of_the_curve():
    band = ForecastBand([record(curve=CURVE, low=0.7, high=0.75)], 500, print)
    assert band.at(50) is None
    assert band.at(200) == pytest.approx((0.9, 1.1))
    assert band.at(450) is None  # the rate falls
    assert band.at(500) == (0.7, 0.75)


def test_leaving_the_band_is_said_once_and_coming_back_too():
    losses = {50: 3.0, 100: 1.1, 200: 1.3, 250: 1.31, 300: None, 400: 0.9, 450: 0.5, 500: 0.69}
    said = watched(losses, [record(curve=[], low=0, high=9), record(curve=CURVE, low=0.7, high=0.75)])
    assert said == [
        "step 200: 1.3000 held-out bits per byte is above the forecast's band of 0.9000 to 1.1000",
        "step 400: 0.9000 held-out bits per byte is back in the forecast's band of 0.8000 to 1.0000",
        "step 500: 0.6900 held-out bits per byte is below the forecast's band of 0.7000 to 0.7500",
    ]


def test_a_run_without_a_forecast_is_watched_in_silence():
    assert watched({100: 9.0, 500: 9.0}, []) == []
    assert watched({100: 9.0, 500: 9.0}, [record(other=1)]) == []
