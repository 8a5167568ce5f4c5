"""Environment variables for a process that has one core: more threads would only slow down its neighbours."""

ONE_THREAD = dict.fromkeys(
    ("POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
)
