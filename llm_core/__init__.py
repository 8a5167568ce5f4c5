"""Pedigree's library: data, tokens, models, training, evaluation and the artifact store. No Dagster in it."""
