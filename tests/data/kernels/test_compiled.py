import shutil
import subprocess
import sys
from pathlib import Path

import llm_core

CODE = "from llm_core.data.kernels.words import words_of; print(words_of('a_b c'))"


def answer(folder):
    done = subprocess.run([sys.executable, "-c", CODE], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_machine_code_is_never_older_than_the_kernels_that_it_calls(tmp_path):
    """``words`` calls ``decode``, which stands in another file."""
    package = Path(llm_core.__file__).parent
    kept = ["__init__.py", "data/__init__.py", "data/kernels/*.py"]
    for path in (path for pattern in kept for path in package.glob(pattern)):
        (tmp_path / path.relative_to(package.parent)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / path.relative_to(package.parent))
    assert answer(tmp_path) == "['a_b', 'c']"
    characters = tmp_path / "llm_core/data/kernels/characters.py"
    spaced = "return (32 if first == 95 else first), 1"  # an underscore is a space now
    characters.write_text(characters.read_text().replace("return first, 1", spaced))
    assert answer(tmp_path) == "['a', 'b', 'c']"
