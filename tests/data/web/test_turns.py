import asyncio
import time

from herbray.data.web.settings import Limits, Pace
from herbray.data.web.turns import Turns

LIMITS = Limits(failures=3, pauses=2, pause_s=0.1, max_wait_s=5, seconds=1)


FAST = Pace(rate=100, concurrency=2)


def run(body, pace=FAST, hosts=None):
    async def main():
        return await body(Turns(pace, hosts or {}, LIMITS))

    return asyncio.run(main())


async def ask(turns, host="h", trouble="", wait_s=0.0):
    """Seconds that a turn took to come; None if it was refused."""
    start = time.monotonic()
    turn = await turns.take(host)
    took = time.monotonic() - start
    if turn.refusal:
        return turn.refusal
    await turns.give_back(host, turn.number, trouble, wait_s)
    return took


def test_turns_keep_their_distance_from_the_first_on_and_each_host_its_own():
    async def body(turns):
        start = time.monotonic()
        await asyncio.gather(*(ask(turns) for _ in range(6)), ask(turns, "other"))
        return time.monotonic() - start

    assert run(body, Pace(rate=50, concurrency=6), {"other": Pace(rate=1000)}) >= 6 / 50


def test_no_more_turns_at_once_than_the_pace_allows():
    async def body(turns):
        first, second = await turns.take("h"), await turns.take("h")
        third = asyncio.create_task(turns.take("h"))
        await asyncio.sleep(0.1)
        assert not third.done()
        await turns.give_back("h", first.number, "", 0)
        assert (await third).number not in (first.number, second.number)

    run(body)


def test_a_host_that_fails_is_paused_tried_again_and_given_up():
    async def body(turns):
        for _ in range(3):
            await ask(turns, trouble="the server answers 500")
        assert await ask(turns, trouble="the server answers 500") >= 0.1
        assert await ask(turns, trouble="the server answers 500") >= 0.2
        assert await ask(turns) == "it failed 5 times in a row, last: the server answers 500"
        assert await ask(turns, "other") < 1

    run(body)


def test_a_success_closes_the_account():
    async def body(turns):
        for trouble in ("x", "x", "", "x", "x", "", "x", "x", "x"):
            await ask(turns, trouble=trouble)
        assert await ask(turns) >= 0.1
        for _ in range(3):
            await ask(turns, trouble="x")
        assert await ask(turns) >= 0.1  # the first pause again
        return True

    assert run(body)


def test_failures_of_requests_that_were_under_way_count_once():
    async def body(turns):
        taken = [await turns.take("h") for _ in range(8)]
        for turn in taken:
            await turns.give_back("h", turn.number, "x", 0)
        assert await ask(turns) < 0.2  # one pause, not six

    run(body, Pace(rate=1000, concurrency=8))


def test_a_wait_that_a_host_asks_for_is_kept_and_a_long_one_ends_the_run():
    async def body(turns):
        await ask(turns, wait_s=0.3)
        assert await ask(turns) >= 0.28
        await ask(turns, wait_s=6)
        assert await ask(turns) == "it asks to wait 6 s, more than limits.max_wait_s"

    run(body)


def test_a_site_may_ask_for_a_slower_pace_but_not_for_a_faster_one():
    async def body(turns):
        await ask(turns)
        await turns.slow_down("h", 0.2)
        await turns.slow_down("h", 0.0)
        return [await ask(turns), await ask(turns)]

    assert min(run(body)) > 0.18


def test_a_turn_whose_process_died_ends_by_itself(monkeypatch):
    monkeypatch.setattr("herbray.data.web.turns._LEASE_MARGIN_S", -0.9)

    async def body(turns):
        await turns.take("h")
        return await ask(turns)

    assert 0.05 < run(body, Pace(rate=1000)) < 5
