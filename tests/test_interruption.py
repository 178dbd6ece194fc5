import signal
import threading

import pytest

from herbray.interruption import handle_signals, stop_softly, take_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_keyboard_interrupt_and_the_former_handler_comes_back(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), handle_signals():
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


def raised(kind, body):
    with pytest.raises(kind) as caught, handle_signals():
        body()
    return caught.value


def test_the_first_signal_asks_and_the_end_of_the_body_interrupts(capfd):
    reached, asked = [], []

    def body():
        with stop_softly("stopping soon", lambda: asked.append(True)) as stopping:
            reached.append(stopping())
            signal.raise_signal(signal.SIGTERM)
            reached.append(stopping())

    raised(KeyboardInterrupt, body)
    assert (reached, asked) == ([False, True], [True])
    assert capfd.readouterr().err == "stopping soon; a second signal ends the job at once\n"


def test_the_second_signal_interrupts_at_once():
    reached = []

    def body():
        with stop_softly("stopping soon"):
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            reached.append(True)

    raised(KeyboardInterrupt, body)
    assert not reached


def test_an_error_of_the_body_is_not_hidden():
    def body():
        with stop_softly("stopping soon"):
            signal.raise_signal(signal.SIGTERM)
            raise OSError("full")

    assert str(raised(OSError, body)) == "full"


def test_signals_are_taken_back_from_a_library():
    def body():
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        take_signals()
        signal.raise_signal(signal.SIGTERM)

    raised(KeyboardInterrupt, body)


def test_handlers_stay_as_they_are_without_a_job_and_outside_the_main_thread():
    before, found = signal.getsignal(signal.SIGTERM), []
    take_signals()
    with stop_softly("stopping soon") as stopping:
        found.append(signal.getsignal(signal.SIGTERM))

    def work():
        with handle_signals():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before, before]
    assert not stopping()
