import time

import pytest
from ray.data._internal.execution.backpressure_policy import BackpressurePolicy

from herbray.flow.input.executor_idle import SLEEP_S, install_idle_policy


def rounds_while_the_consumer_waits(data, counted, seconds):
    batches = iter(data.iterator().iter_batches(batch_size=None, prefetch_batches=1))
    next(batches)
    time.sleep(1)  # the tasks end; their output waits
    before = len(counted)
    time.sleep(seconds)
    turned = len(counted) - before
    assert len(list(batches)) > 0
    return turned


@pytest.mark.long
def test_the_executor_sleeps_while_its_output_waits(cluster):
    counted = []

    class Counter(BackpressurePolicy):
        def max_task_output_bytes_to_read(self, op):
            if op is next(iter(self._topology)):
                counted.append(1)

    context = cluster.data.DataContext.get_current().copy()
    install_idle_policy(context)
    key = "backpressure_policies.enabled"
    context.set_config(key, [*context.get_config(key, []), Counter])
    with cluster.data.DataContext.current(context):
        data = cluster.data.from_items([{"x": i} for i in range(40)], override_num_blocks=40).map_batches(
            lambda t: t, batch_size=None, num_cpus=0.25
        )
        turned = rounds_while_the_consumer_waits(data, counted, 2.0)
    assert turned <= 2.0 / SLEEP_S + 1
