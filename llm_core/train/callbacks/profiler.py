"""Traces the time of some steps with ``torch.profiler``, for chrome://tracing or Perfetto."""

import torch

from llm_core.runtime_only import runtime_only
from llm_core.train.callbacks.base import Callback
from llm_core.train.callbacks.run import Run
from llm_core.train.callbacks.spec import PROFILE, Profile
from llm_core.train.prefetch import DeviceBatch
from llm_core.train.work_folder import move_foreign_aside, record_output


@runtime_only("a trace of time, which is volatile")
class Profiler(Callback):
    """Writes ``profile/steps_A_to_B.json`` on the main rank. A run that resumes after these steps writes none."""

    def __init__(self, spec: Profile) -> None:
        self._first, self._last = spec.from_step, spec.from_step + spec.steps - 1
        self._profile: torch.profiler.profile | None = None

    def on_start(self, run: Run) -> None:
        """Restart the trace after a rollback."""
        if self._profile:
            self._profile.stop()
            self._profile = None

    def before_step(self, run: Run, batch: DeviceBatch) -> None:
        """Start the trace at its first step."""
        if batch.step + 1 == self._first and run.world.is_main:
            self._profile = torch.profiler.profile()  # all activities that this build of torch supports
            self._profile.start()

    def end_step(self, run: Run, stopping: bool) -> None:
        """Write the trace after its last step."""
        step = run.progress.step
        if self._profile and (stopping or step == self._last):
            self._profile.stop()
            folder = run.spec.work / PROFILE
            folder.mkdir(exist_ok=True)
            file = folder / f"steps_{self._first}_to_{step}.json"
            move_foreign_aside(run.spec.work, file)
            self._profile.export_chrome_trace(str(file))
            record_output(run.spec.work, file)
            self._profile = None
