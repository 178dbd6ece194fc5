"""Makes Ray Data's executor sleep when no task is running."""

import time
from typing import Final

from ray.data import DataContext
from ray.data._internal.execution.backpressure_policy import (
    ENABLED_BACKPRESSURE_POLICIES,
    ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY,
    BackpressurePolicy,
)
from ray.data._internal.execution.interfaces import PhysicalOperator

SLEEP_S: Final = 0.02


class SleepWhenIdle(BackpressurePolicy):
    """A policy without limits that sleeps once per round of the executor's loop when no task is running.

    The loop blocks in `ray.wait` only while tasks are running. If training is slower than its input, all tasks are done
    and their output waits to be consumed. Then the loop runs without a pause in a thread of the training process, and
    takes half a core and the interpreter lock from the training step. A policy is the public way to act in the loop.
    """

    @property
    def name(self) -> str:
        """The name in Ray's statistics."""
        return "SleepWhenIdle"

    def max_task_output_bytes_to_read(self, op: PhysicalOperator) -> int | None:
        """No limit. Ray calls this once per round and operator, before it waits."""
        last = next(reversed(self._topology))
        if op is last and not any(other.num_active_tasks() for other in self._topology):
            time.sleep(SLEEP_S)
        return None


def install_idle_policy(context: DataContext) -> None:
    """Make every execution under this context use `SleepWhenIdle`."""
    context.set_config(ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY, [*ENABLED_BACKPRESSURE_POLICIES, SleepWhenIdle])
