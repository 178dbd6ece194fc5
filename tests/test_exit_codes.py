import pytest

from herbray.exit_codes import ExitCode, Unreachable, code_of


class RayActorError(Exception):
    actor_init_failed = False


class MlflowException(Exception):
    def __init__(self, status):
        super().__init__(f"status {status}")
        self.get_http_status_code = lambda: status


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("no such file"), ExitCode.BAD_INPUT),
        (FloatingPointError("the loss is nan"), ExitCode.BAD_INPUT),
        (RuntimeError("counts do not add up"), ExitCode.BAD_INPUT),
        (OSError(28, "No space left on device"), ExitCode.BAD_INPUT),
        (FileNotFoundError(2, "No such file"), ExitCode.BAD_INPUT),
        (Unreachable("later"), ExitCode.UNREACHABLE),
        (ConnectionResetError(104, "Connection reset"), ExitCode.UNREACHABLE),
        (OSError(116, "Stale file handle"), ExitCode.UNREACHABLE),
        (RayActorError("died"), ExitCode.UNREACHABLE),
        (MlflowException(503), ExitCode.UNREACHABLE),
        (MlflowException(429), ExitCode.UNREACHABLE),
        (MlflowException(403), ExitCode.BAD_INPUT),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (SystemExit(15), ExitCode.INTERRUPTED),
    ],
)
def test_each_error_has_one_code(error, code):
    assert code_of(error) is code


def chained(error, cause):
    error.__cause__ = cause
    return error


def test_the_cause_of_an_error_decides_unless_the_message_is_ours():
    assert code_of(chained(RuntimeError("could not read"), TimeoutError("10 s"))) is ExitCode.UNREACHABLE
    assert code_of(chained(ValueError("no such model"), MlflowException(503))) is ExitCode.BAD_INPUT


def test_an_actor_whose_own_code_failed_is_no_outage():
    error = RayActorError("raised in __init__")
    error.actor_init_failed = True
    assert code_of(error) is ExitCode.BAD_INPUT
