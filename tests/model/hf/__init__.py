"""Tests against ``transformers``, which must not ask any network for anything."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
