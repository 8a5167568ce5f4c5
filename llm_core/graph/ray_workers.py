"""Builds parts on a Ray cluster. All its nodes must see store and sources under the same paths (a shared disk)."""

import socket
from collections.abc import Iterator, Sequence

from llm_core.errors import PedigreeError
from llm_core.experiment.runtime import ComputeSpec
from llm_core.extras import missing
from llm_core.graph.part_build import PartBuild
from llm_core.graph.worker import ONE_THREAD
from llm_core.store.parts import Part

_SECONDS = 10.0
_AT_ONCE = 4  # tasks in flight per core: enough to keep it busy, few enough to stop soon after an error


def build_on_ray(parts: Sequence[PartBuild], compute: ComputeSpec) -> Iterator[Part]:
    """Build all parts, in any order, on the cluster at ``compute.ray_address``, with one core per part.

    Without an address, starts Ray on this machine only. Raises ``PedigreeError`` when Ray is not installed or the
    cluster does not answer.
    """
    try:
        import ray
        from ray.exceptions import RayError, RayTaskError
    except ImportError:
        raise missing("compute.map: ray", "ray", "ray") from None
    if not ray.is_initialized():
        _check_reachable(compute.ray_address)
        try:
            ray.init(
                address=compute.ray_address,
                include_dashboard=None if compute.ray_address else False,
                log_to_driver=False,
                runtime_env={"env_vars": ONE_THREAD},
            )
        except ConnectionError as error:
            raise PedigreeError(
                f"compute.ray_address {compute.ray_address}: no Ray cluster is there: {error}"
            ) from None
    remote = ray.remote(num_cpus=1, max_retries=2)(PartBuild.build)
    most = max(1, int(ray.cluster_resources().get("CPU", 1))) * _AT_ONCE
    waiting = list(reversed(parts))
    running: list[ray.ObjectRef[Part]] = []
    try:
        while waiting or running:
            while waiting and len(running) < most:
                running.append(remote.remote(waiting.pop()))
            (ready, *_), running = ray.wait(running, num_returns=1)
            yield ray.get(ready)
    except RayTaskError as error:
        raise error.cause from None
    except RayError as error:
        raise PedigreeError(
            f"compute.map: Ray lost a part ({type(error).__name__}: {str(error).strip()}). If memory ran out, lower "
            "raw.documents_per_part or give the nodes fewer CPUs; finished parts are kept"
        ) from None
    finally:
        for reference in running:
            ray.cancel(reference)


def _check_reachable(address: str | None) -> None:
    """Raise at once when nothing answers; Ray itself would retry for minutes."""
    host, colon, port = (address or "").rpartition(":")
    if colon and port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=_SECONDS).close()
        except OSError as error:
            raise PedigreeError(
                f"compute.ray_address {address}: nothing answers there ({error}); start Ray, or correct the address"
            ) from None
