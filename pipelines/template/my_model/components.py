"""The plug-in of this project: its components, by name. The experiment lists it in `plugins`.

Each dictionary has the name of a registry (RULES, SOURCES, MIXERS, SCHEDULES, …: see llm_core/registries.py). Write it
as a literal: Pedigree reads it without running this module.
"""

RULES = {"advert_lines": "my_model.adverts:advert_lines"}
