"""Compiles kernels with numba. The compiled code is cached on disk and never stale."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from xxhash import xxh3_64_hexdigest

from llm_core.runtime_only import runtime_only
from llm_core.store.home import pedigree_home

F = TypeVar("F", bound=Callable[..., Any])

_CONFIG: Any = numba.config


def kernel(function: F) -> F:
    """``function`` compiled by numba on its first call, without the interpreter's lock and without fastmath.

    The machine code is cached in ``__pycache__``, or in ``PEDIGREE_HOME`` if that is read-only. numba notices when the
    kernel's own file changes, but not when a kernel changes that it calls from another file. So the cache folder's name
    has a digest of all folders ``kernels`` of the library, and a kernel may call others from these folders only.
    """
    before = _CONFIG.CACHE_DIR
    _CONFIG.CACHE_DIR = str(_cache() / _sources_digest())
    try:
        compiled: Any = numba.njit(cache=True, nogil=True)(function)
    finally:
        _CONFIG.CACHE_DIR = before
    return compiled


@runtime_only("where machine code is kept")
def _cache() -> Path:
    here = Path(__file__).parent
    return here / "__pycache__" if os.access(here, os.W_OK) else pedigree_home() / "kernels"


@runtime_only("names the machine code by the sources that it is made from")
@cache
def _sources_digest() -> str:
    files = sorted(Path(__file__).parent.parents[1].glob("*/kernels/*.py"))
    return xxh3_64_hexdigest(b"\0".join(file.read_bytes() for file in files))
