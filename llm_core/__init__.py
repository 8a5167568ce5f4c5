"""Pedigree's library: data, tokens, models, training, evaluation and the artifact store. No Dagster in it."""

from llm_core.loaded_code import note_imports

note_imports()
