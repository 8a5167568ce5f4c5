"""The trainer that Dagster launches: rank 0 opens the Pipes session, and then ``llm_core.train`` runs.

Without Dagster, ``torchrun … -m llm_core.train spec.json`` does the same.
"""

import os
import sys

from llm_core.collection import paused_collection

with paused_collection(keep=True):
    from dagster_pipes import PipesContext, open_dagster_pipes

    from llm_core.train.main import main


def _main() -> int:
    if os.environ.get("RANK", "0") != "0":
        return main()
    with open_dagster_pipes():
        log = PipesContext.get().log
        log.info(f"the trainer runs as process {os.getpid()}, {os.environ.get('WORLD_SIZE', '1')} rank(s)")
        code = main()
        log.info(f"the trainer ended with exit code {code}")
    return code


if __name__ == "__main__":
    sys.exit(_main())
