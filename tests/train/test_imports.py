import subprocess
import sys

HEAVY = "polars pyarrow dagster tokenizers safetensors wandb yaml duckdb xxhash lm_eval matplotlib transformers rich"


def loaded(module):
    code = f"import sys, {module}; print([name for name in '{HEAVY} torch'.split() if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_the_training_path_imports_torch_numpy_and_pydantic_only():
    assert loaded("llm_core.train.main") == "['torch']"


def test_judging_a_finished_run_needs_no_torch():
    assert "torch" not in loaded("llm_core.train.training_run")
