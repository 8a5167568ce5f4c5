"""The devices of this machine, and whether they fit a run."""

from llm_core.errors import PedigreeError
from llm_core.experiment.devices import is_device
from llm_core.experiment.runtime import ComputeSpec
from llm_core.registries import DEVICE_TYPES
from llm_core.train.devices.device_type import DeviceType
from llm_core.train.hardware import Hardware, planned

AUTO = "auto"


def device_type(name: str) -> DeviceType:
    """The device type ``name``, whether or not this machine has such a device."""
    found: DeviceType = DEVICE_TYPES.load(name)
    return found


def chosen_device_type(wanted: str = AUTO) -> DeviceType:
    """``wanted``, or for ``auto`` the first ``automatic`` type of the registry that this machine has.

    ``PedigreeError`` when this machine has no such device.
    """
    here = next(found for name in DEVICE_TYPES if (found := device_type(name)).automatic and found.count())
    if wanted == AUTO:
        return here
    if not device_type(wanted).count():
        raise PedigreeError(
            f"compute.device_type {wanted}: torch finds no such device on this machine; write auto, which takes "
            f"{here.machine().name}"
        )
    return device_type(wanted)


def this_machine(wanted: str = AUTO) -> Hardware:
    """This machine's devices of the type ``wanted`` (see ``chosen_device_type``)."""
    return chosen_device_type(wanted).machine()


def hardware_of(compute: ComputeSpec) -> Hardware:
    """The machine for which ``compute`` plans: the one that it names, or this one."""
    if compute.device is not None:
        return planned(compute.device, compute.devices or 1)
    machine = compute.target.machine()
    return this_machine(compute.device_type) if machine is None else planned(*machine)


def require_devices(compute: ComputeSpec) -> None:
    """``PedigreeError`` when a run can't start here: this machine is not the one that ``compute`` names, or it has too
    few GPUs."""
    chosen = chosen_device_type(compute.device_type)
    gpus = 0 if chosen.shared else chosen.count()
    compute.target.check(compute, gpus)
    if not compute.target.here:
        return
    if compute.device is not None:
        wanted, here = compute.ranks or compute.devices or 1, chosen.machine()
        name = here.name.partition(" × ")[2]
        if gpus < wanted or not is_device(compute.device, name, here.memory):
            raise PedigreeError(
                f"compute.device: the run is planned for {wanted} × {compute.device.name}, and this machine is "
                f"{here.name}; run it there, or leave compute.device out to train on what is here"
            )
    if gpus and compute.ranks is not None and compute.ranks > gpus:
        raise PedigreeError(
            f"compute.ranks is {compute.ranks}, but this machine has {gpus} GPU{'s' if gpus > 1 else ''}: lower "
            "compute.ranks, or set compute.device_type to cpu"
        )
