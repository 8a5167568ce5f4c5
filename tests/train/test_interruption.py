import os
import signal

import pytest

from llm_core.train.interruption import StopRequest


@pytest.fixture
def handlers():
    """Restore the signal handlers at the end."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("inherited", [signal.SIG_DFL, signal.SIG_IGN])
def test_term_asks_to_stop_and_an_ignored_hup_stays_ignored(handlers, inherited):
    signal.signal(signal.SIGTERM, inherited)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = StopRequest()
    stop.install()
    os.kill(os.getpid(), signal.SIGHUP)
    assert stop.reason is None
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.reason == "SIGTERM"
