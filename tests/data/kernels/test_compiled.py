import shutil
import subprocess
import sys
from pathlib import Path

import llm_core
from llm_core.data.kernels.compiled import kernel

CODE = "from llm_core.data.kernels.words import pieces_of; print(pieces_of('a_b c'))"


def answer(folder):
    done = subprocess.run([sys.executable, "-c", CODE], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_machine_code_is_never_older_than_the_kernels_that_it_calls(tmp_path):
    """``words`` calls ``decode``, which stands in another file."""
    package = Path(llm_core.__file__).parent
    kept = ["__init__.py", "store/__init__.py", "store/home.py", "data/__init__.py", "data/kernels/*.py"]
    for path in (path for pattern in kept for path in package.glob(pattern)):
        (tmp_path / path.relative_to(package.parent)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / path.relative_to(package.parent))
    assert answer(tmp_path) == "['a_b', 'c']"
    characters = tmp_path / "llm_core/data/kernels/characters.py"
    spaced = "return (32 if first == 95 else first), 1"  # an underscore is a space now
    characters.write_text(characters.read_text().replace("return first, 1", spaced))
    assert answer(tmp_path) == "['a', 'b', 'c']"


def test_where_the_package_cannot_be_written_machine_code_lies_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path))
    monkeypatch.setattr("os.access", lambda *_: False)

    @kernel
    def doubled(number):
        return 2 * number

    assert doubled(4) == 8
    assert list(tmp_path.glob("kernels/*/*/*.nbi"))
