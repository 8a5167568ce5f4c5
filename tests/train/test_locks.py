import os
import re
import signal
import stat
import subprocess
import sys
import textwrap

import pytest

from llm_core.errors import PedigreeError
from llm_core.train.locks import end_holder, held, is_held, owner, take


def hold_elsewhere(path, stubborn=False):
    code = f"""
        import signal, sys, time
        from pathlib import Path
        from llm_core.train.locks import held
        # The tests may have been started with TERM ignored.
        signal.signal(signal.SIGTERM, signal.SIG_IGN if {stubborn} else signal.SIG_DFL)
        with held(Path({str(path)!r})):
            print("held", flush=True)
            time.sleep(600)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    return process


@pytest.mark.parametrize(("stubborn", "end"), [(False, signal.SIGTERM), (True, signal.SIGKILL)])
def test_an_orphan_that_holds_a_lock_is_ended(tmp_path, stubborn, end):
    path, lines = tmp_path / "lock", []
    process = hold_elsewhere(path, stubborn)
    with pytest.raises(PedigreeError, match=f"process {process.pid}"), held(path):
        pass
    end_holder(path, 0.3, lines.append)
    assert process.wait(10) == -end
    assert str(process.pid) in lines[0]
    assert not is_held(path)


def test_an_orphan_that_ends_by_itself_is_left_alone(tmp_path):
    path = tmp_path / "lock"
    process = hold_elsewhere(path)
    # Not HUP or INT: they are ignored under nohup and in background jobs.
    subprocess.Popen(["/bin/sh", "-c", f"sleep 0.3; kill -USR1 {process.pid}"])
    end_holder(path, 10, lambda line: None)
    assert process.wait() == -signal.SIGUSR1


def test_a_free_lock_needs_no_ending(tmp_path):
    (tmp_path / "lock").write_text('{"pid": 1, "host": "elsewhere"}')
    end_holder(tmp_path / "lock", 5, pytest.fail)
    end_holder(tmp_path / "none", 5, pytest.fail)


def test_a_holder_on_another_machine_is_named(tmp_path):
    path = tmp_path / "lock"
    process = hold_elsewhere(path)
    path.write_text('{"pid": 1, "host": "elsewhere"}')
    with pytest.raises(PedigreeError, match="a trainer on elsewhere"):
        end_holder(path, 0.1, lambda line: None)
    process.kill()
    process.wait()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PedigreeError, match="file/folder/lock"), held(tmp_path / "file" / "folder" / "lock"):
        pass


def test_nothing_but_a_lock_of_ours_is_written_to(tmp_path):
    """In a folder for all users, somebody may have created a hard link to another file."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "link").symlink_to(victim)
    (tmp_path / "name").hardlink_to(victim)
    for path in ("link", "name"):
        with pytest.raises(OSError, match=r"not a lock file|Too many levels"):
            take(tmp_path / path, {})
    assert victim.read_text() == "precious"


def test_a_lock_is_for_all_users_and_a_tidied_one_is_none(tmp_path):
    umask = os.umask(0o077)
    try:
        first = take(tmp_path / "lock", {"what": "a run", "user": "one"})
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o666
    assert take(tmp_path / "lock", {}) is None
    assert re.fullmatch(rf"process {os.getpid()} on .* \(a run, user one\) since 20..-.*", owner(tmp_path / "lock"))
    (tmp_path / "lock").unlink()
    second = take(tmp_path / "lock", {})
    assert second is not None
    os.close(first)
    assert take(tmp_path / "lock", {}) is None
    os.close(second)
