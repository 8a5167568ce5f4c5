"""``python -m llm_core.train spec.json``."""

from llm_core.train.main import main

if __name__ == "__main__":
    raise SystemExit(main())
