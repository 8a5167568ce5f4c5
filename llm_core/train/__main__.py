"""``python -m llm_core.train spec.json``."""

import sys

from llm_core.collection import paused_collection

if __name__ == "__main__":
    try:
        with paused_collection(keep=True):
            from llm_core.train.main import main
    except ImportError as error:
        print(
            f"error: the trainer can't start: {error}. It needs torch, numpy, pydantic and safetensors in the "
            f"Python that runs it ({sys.executable}); install them there, and run again",
            file=sys.stderr,
        )
        raise SystemExit(1) from None
    raise SystemExit(main())
