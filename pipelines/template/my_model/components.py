"""What this project adds to Pedigree: `plugins: [my_model.components]` in the experiment.

A table has the name of a registry (RULES, SOURCES, MIXERS, SCHEDULES, …: see llm_core/registries.py). It must be
written out, because the code digest reads it without running it.
"""

RULES = {"advert_lines": "my_model.adverts:advert_lines"}
