"""Lets Ray Data's executor rest while it has nothing to wait for."""

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
    """Limits nothing; sleeps once a round of the executor's loop when no task runs.

    The loop blocks in `ray.wait` only while tasks run. When the trainer is slower than its feed, every task is done
    and its output waits to be taken: the loop then turns without a pause, in a thread of the trainer's own process,
    and takes half a core and the interpreter's lock from the training step. Policies are the loop's public way in.
    """

    @property
    def name(self) -> str:
        """As Ray's statistics show it."""
        return "Unhurried"

    def max_task_output_bytes_to_read(self, op: PhysicalOperator) -> int | None:
        """No limit. Called once a round for each operator, before the wait."""
        last = next(reversed(self._topology))
        if op is last and not any(other.num_active_tasks() for other in self._topology):
            time.sleep(SLEEP_S)
        return None


def install_idle_policy(context: DataContext) -> None:
    """Have every execution under this context use the policy."""
    context.set_config(ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY, [*ENABLED_BACKPRESSURE_POLICIES, SleepWhenIdle])
