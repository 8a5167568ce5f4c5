"""Parts made by a Ray cluster, whose nodes must all see store and sources under the same paths (a shared disk)."""

from collections.abc import Iterator, Sequence

from llm_core.errors import PedigreeError
from llm_core.experiment.runtime import ComputeSpec
from llm_core.graph.mapping import KeyedTask, make_part
from llm_core.store.parts import Part

RUNTIME_ONLY = True

_AT_ONCE = 4  # tasks handed over per core: enough to keep it busy, few enough to stop soon after an error


def run_on_ray(tasks: Sequence[KeyedTask], compute: ComputeSpec) -> Iterator[Part]:
    """The part of every task, in any order, made on the cluster at ``compute.ray_address``, one core a task.

    Without an address, a Ray of this machine alone is started. Raises ``PedigreeError`` when Ray is not installed or
    the cluster does not answer.
    """
    try:
        import ray
        from ray.exceptions import RayTaskError
    except ImportError:
        raise PedigreeError("compute.map: ray is not installed; pip install 'pedigree-llm[ray]'") from None
    if not ray.is_initialized():
        try:
            ray.init(
                address=compute.ray_address,
                log_to_driver=False,
                include_dashboard=False if compute.ray_address is None else None,
            )
        except ConnectionError as error:
            raise PedigreeError(
                f"compute.ray_address {compute.ray_address}: no Ray cluster answers there: {error}"
            ) from None
    remote = ray.remote(num_cpus=1, max_retries=2)(make_part)
    most = max(1, int(ray.cluster_resources().get("CPU", 1))) * _AT_ONCE
    waiting = list(reversed(tasks))
    running: list[ray.ObjectRef[Part]] = []
    try:
        while waiting or running:
            while waiting and len(running) < most:
                running.append(remote.remote(waiting.pop()))
            (ready, *_), running = ray.wait(running, num_returns=1)
            yield ray.get(ready)
    except RayTaskError as error:
        raise error.cause from None
    finally:
        for reference in running:
            ray.cancel(reference)
