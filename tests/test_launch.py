import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from llm_core.errors import PedigreeError
from llm_core.launch import run_group


def script(text: str) -> list[str]:
    return [sys.executable, "-u", "-c", textwrap.dedent(text)]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def assert_ended(folder):
    """Killed, and gone as soon as a busy machine comes to it."""
    wait_for(lambda: not any(alive(pid) for pid in pids(folder)), seconds=5.0)


# A leader that ignores TERM, and a grandchild in a session of its own that does so too.
STUBBORN = """
    import os, signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    open("pids", "w").write(f"{os.getpid()} {child.pid}\\n")
    time.sleep(600)
"""


def pids(folder: Path) -> list[int]:
    wait_for(lambda: (folder / "pids").exists() and (folder / "pids").read_text().endswith("\n"))
    return [int(word) for word in (folder / "pids").read_text().split()]


def test_output_and_environment_reach_the_log_and_ticks_come(tmp_path):
    ticks = []
    command = script("import os, time; print('hello', os.environ['COLOUR']); time.sleep(0.3)")
    log = tmp_path / "log"
    log.write_text("before\n")
    run_group(command, log=log, environment={"COLOUR": "red"}, tick=lambda: ticks.append(1), tick_seconds=0.05)
    assert log.read_text() == "before\nhello red\n"
    assert len(ticks) >= 2


def test_a_failure_shows_the_last_lines(tmp_path):
    with pytest.raises(PedigreeError, match=r"exit code 3(.|\n)*line 99"):
        run_group(script("for i in range(100): print('line', i)\nraise SystemExit(3)"), log=tmp_path / "log")


def test_a_signal_is_named(tmp_path):
    with pytest.raises(PedigreeError, match="was ended by SIGKILL"):
        run_group(script("import os; os.kill(os.getpid(), 9)"), log=tmp_path / "log")


def test_a_command_that_does_not_exist_and_a_log_that_cannot_be_written(tmp_path):
    with pytest.raises(PedigreeError, match="can't be started"):
        run_group([str(tmp_path / "nothing")], log=tmp_path / "log")
    with pytest.raises(PedigreeError, match="can't be written"):
        run_group(script("pass"), log=tmp_path / "missing" / "log")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_exception_ends_every_descendant(tmp_path, monkeypatch, error):
    monkeypatch.chdir(tmp_path)

    def interrupt():
        if (tmp_path / "pids").exists():
            raise error

    with pytest.raises(error):
        run_group(script(STUBBORN), log=tmp_path / "log", tick=interrupt, tick_seconds=0.05, grace_seconds=0.2)
    assert_ended(tmp_path)


def test_the_watchdog_ends_a_run_without_progress(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PedigreeError, match=r"no progress for 0.5 s"):
        run_group(
            script(STUBBORN),
            log=tmp_path / "log",
            tick_seconds=0.05,
            idle_seconds=lambda: 1.0 if (tmp_path / "pids").exists() else 0.0,
            watchdog_seconds=0.5,
            grace_seconds=0.2,
        )
    assert_ended(tmp_path)


def test_a_leader_that_is_killed_leaves_no_descendants(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    killed = []

    def kill_leader():
        if not killed and (tmp_path / "pids").exists():
            os.kill(pids(tmp_path)[0], signal.SIGKILL)
            killed.append(True)

    with pytest.raises(PedigreeError, match="SIGKILL"):
        run_group(script(STUBBORN), log=tmp_path / "log", tick=kill_leader, tick_seconds=0.05, grace_seconds=0.2)
    assert_ended(tmp_path)


def test_a_stop_leaves_time_to_finish(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = script("""
        import signal, sys, time
        def finish(*_):
            time.sleep(0.3)
            open("finished", "w").close()
            sys.exit(0)
        signal.signal(signal.SIGTERM, finish)
        open("ready", "w").close()
        time.sleep(600)
    """)

    def interrupt():
        if (tmp_path / "ready").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_group(command, log=tmp_path / "log", tick=interrupt, tick_seconds=0.05)
    assert (tmp_path / "finished").exists()


def test_the_lifeline_ends_when_the_launcher_is_killed(tmp_path):
    """Through a layer that starts its child in another session, as torchrun does."""
    worker = "import os, sys; open('pids', 'w').write(f'{os.getpid()}\\n'); sys.stdin.buffer.read(); open('eof', 'w')"
    layer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {worker!r}], start_new_session=True)"
    launcher = f"""
        import sys
        from pathlib import Path
        from llm_core.launch import run_group
        run_group([sys.executable, "-c", {layer!r}], log=Path("log"))
    """
    process = subprocess.Popen(script(launcher), cwd=tmp_path)
    (worker_pid,) = pids(tmp_path)
    process.kill()
    process.wait()
    wait_for(lambda: (tmp_path / "eof").exists())
    wait_for(lambda: not alive(worker_pid))


def test_a_launcher_that_ignores_term_starts_a_command_that_does_not(tmp_path):
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        run_group(script("import signal; print(signal.getsignal(signal.SIGTERM).name)"), log=tmp_path / "log")
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "SIG_DFL" in (tmp_path / "log").read_text()
