"""Why a training on Ray failed, and whether to try again."""

from collections.abc import Iterator, Mapping
from typing import Any

from ray.exceptions import RayActorError
from ray.train import UserCallback
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError, WorkerHealthCheckFailedError

from herbray.disk import DISK_ERRNOS
from herbray.exit_codes import Unreachable
from herbray.flow.training.specification import Train
from herbray.storage import StoreUnreachable

_NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "unable to allocate",
    "memory used by the node",
    "memory monitor",
)
_DEATHS = (RayActorError, WorkerHealthCheckFailedError)
"""Errors of a worker that is gone; the other workers then report lost connections."""


class NoResources(Unreachable):
    """The cluster had no free resources for the workers, as long as the job waited."""


class RepeatedFailure(Unreachable):
    """Workers died repeatedly, and the training made no progress in between."""


class FailurePolicy(UserCallback):
    """Ends a training whose error would recur, or that fails repeatedly without progress.

    Ray counts failures over a whole run. This policy counts them since the last progress, so that a run of weeks on
    preemptible machines is not ended by its third loss. A report that a restarted worker repeats is no progress:
    otherwise an error that recurs after it would be retried for ever. A preempted node is no failure.
    """

    def __init__(self, allowed: int) -> None:
        """`allowed` failures in a row are retried."""
        self.allowed = allowed
        self.failures = 0
        self.furthest = -1.0

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:  # noqa: ANN401
        """Note progress if the training has seen more images than ever before."""
        images = float(metrics[0]["images"])
        if images > self.furthest:
            self.failures, self.furthest = 0, images

    def after_exception(self, run_context: Any, worker_exceptions: Mapping[int, Exception]) -> None:  # noqa: ANN401
        """Raise to end the training."""
        errors = [unwrap(error) for error in worker_exceptions.values()]
        for error in errors:
            if is_permanent(error):
                raise error
        if not any(getattr(error, "preempted", False) for error in errors):
            self.failures += 1
            if self.failures > self.allowed:
                died = next((error for error in errors if isinstance(error, _DEATHS)), errors[0])
                raise _repeated(self.failures, died) or next(iter(worker_exceptions.values()))


def _repeated(times: int, last: BaseException) -> RepeatedFailure | None:
    """The error for workers that were killed; None if a worker raised an error itself, which says more."""
    if not isinstance(last, _DEATHS):
        return None
    return RepeatedFailure(
        f"workers died {times} times in a row without progress ({_line(last)}): check the memory of their "
        "machines and Ray's logs; the same command resumes from the newest checkpoint"
    )


def is_permanent(error: BaseException) -> bool:
    """Whether the next attempt would fail alike: bad input, divergence, no memory, no disk space."""
    if isinstance(error, OSError):
        return error.errno in DISK_ERRNOS
    return isinstance(error, ArithmeticError | ValueError) or is_out_of_memory(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: the messages of numpy, torch and Ray."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _NO_MEMORY)


def explain(error: BaseException, spec: Train) -> BaseException:
    """The original error without Ray's wrapping, with advice."""
    inner = root_cause(error)
    if is_out_of_memory(inner):
        return MemoryError(
            f"the training does not fit into memory: lower stream.batch ({spec.stream.batch}), encoder.size "
            f"({spec.encoder.size}) or the number of workers per machine ({_line(inner)})"
        )
    if isinstance(inner, WorkerGroupStartupTimeoutError):
        return NoResources(
            f"{spec.out}: the cluster had no free resources for the workers within patience_s={spec.patience_s:g}; "
            "the same command tries again, and resumes if there is a checkpoint"
        )
    if isinstance(inner, StoreUnreachable):
        return Unreachable(f"{inner}: once it does, run the same command again: it resumes")
    if isinstance(inner, RepeatedFailure):
        return RepeatedFailure(f"{spec.out}: {inner}")
    return inner if is_permanent(inner) else error


def _line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]


def root_cause(error: BaseException) -> BaseException:
    """The first cause of a failed training: a worker's error, or the controller's."""
    while (further := _further(error)) is not None:
        error = further
    return error


def unwrap(error: BaseException) -> BaseException:
    """A worker's error without Ray's wrapping."""
    for name in ("health_check_failure", "cause", "_base_exc"):
        inner = getattr(error, name, None)
        if isinstance(inner, BaseException):
            return unwrap(inner)
    return error


def _further(error: BaseException) -> BaseException | None:
    failures: Iterator[BaseException] = iter([*getattr(error, "worker_failures", {}).values()])
    found = next(failures, None) or getattr(error, "controller_failure", None)
    if found is not None:
        return unwrap(found)
    inner = unwrap(error)
    return inner if inner is not error else None
