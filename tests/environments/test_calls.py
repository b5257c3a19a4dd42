"One event loop for a process, and calls that end: connections that last, tools that hang, exit or are interrupted"

import asyncio
import contextvars
import os
import signal
import sqlite3
import sys
import threading
import time
from subprocess import run

import pytest

from rlops_lab.environments.calls import CallThreads, attempt, call_within, run_sync


class FakeServer:
    "Says back each line, on a port of its own"

    def __enter__(self):
        ready = threading.Event()

        async def echo(reader, writer):
            while line := await reader.readline():
                writer.write(b"heard " + line)
                await writer.drain()

        async def serve():
            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            self.port, self.loop = server.sockets[0].getsockname()[1], asyncio.get_running_loop()
            ready.set()
            await server.serve_forever()

        threading.Thread(target=lambda: attempt(asyncio.run, serve()), daemon=True).start()
        assert ready.wait(10)
        return self

    def __exit__(self, *_):
        for task in asyncio.all_tasks(self.loop):
            self.loop.call_soon_threadsafe(task.cancel)


def test_a_connection_opened_in_one_call_serves_the_next():
    opened = {}

    async def ask(text, port):
        if not opened:
            opened["reader"], opened["writer"] = await asyncio.open_connection("127.0.0.1", port)
        opened["writer"].write(text.encode() + b"\n")
        await opened["writer"].drain()
        return (await opened["reader"].readline()).decode().strip()

    with FakeServer() as server:
        assert [run_sync(ask(x, server.port), 10) for x in ("a", "b")] == ["heard a", "heard b"]


def test_calls_that_share_a_semaphore_take_turns():
    gate, order = asyncio.Semaphore(1), []

    async def work(i):
        async with gate:
            order.append(("in", i))
            await asyncio.sleep(0.01)
            order.append(("out", i))

    with CallThreads() as threads:
        for job in [threads.start(lambda i=i: run_sync(work(i), 20)) for i in range(8)]:
            job.result()
    assert [step for step, _ in order] == ["in", "out"] * 8


def test_calls_inside_a_running_loop_and_inside_our_own():
    async def inner():
        await asyncio.sleep(0)
        return 1

    async def outer():
        return run_sync(inner()) + 1  # ordinary code inside an async tool

    async def cell():
        return run_sync(outer(), 10)

    assert asyncio.run(cell()) == run_sync(outer(), 10) == 2


@pytest.mark.parametrize("error", [SystemExit(2), asyncio.CancelledError(), KeyError("x"), TimeoutError("theirs")])
def test_what_a_coroutine_raises_reaches_the_caller_and_leaves_the_loop_alive(error):
    async def fail():
        await asyncio.sleep(0)
        raise error

    async def child():
        await asyncio.create_task(fail())

    for tool in (fail, child):
        assert type(attempt(call_within, 5, tool).error) is type(error)
        assert run_sync(asyncio.sleep(0, "alive"), 5) == "alive"


def test_an_async_tool_that_blocks_the_loop_is_left_behind():
    async def block():
        time.sleep(20)

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        call_within(0.2, block)
    assert run_sync(asyncio.sleep(0, "alive"), 5) == "alive" and time.monotonic() - began < 10


def test_a_call_that_is_out_of_time_is_cancelled():
    ended = threading.Event()

    async def hang():
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    with pytest.raises(TimeoutError, match="0.1 seconds"):
        call_within(0.1, hang)
    assert ended.wait(5)


def swallow():
    while True:
        try:
            time.sleep(60)
        except Exception:
            pass


HANGS = lambda: time.sleep(60), lambda: threading.Event().wait(), swallow, lambda: exec("while 1: 0")


@pytest.mark.parametrize("hang", HANGS)
def test_a_sync_tool_that_hangs_is_given_up(hang):
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer within 0.1 seconds"):
        call_within(0.1, hang)
    assert time.monotonic() - began < 5


def test_sync_tools_stay_on_the_callers_thread():
    database = sqlite3.connect(":memory:")
    assert call_within(10, database.execute, "select 1").fetchone() == (1,)
    assert call_within(10, threading.get_ident) == threading.get_ident()


def test_the_alarm_of_somebody_else_still_rings():
    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        assert call_within(30, lambda: 3) == 3
        time.sleep(0.4)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert rung == [1]


def test_an_alarm_that_nobody_hears_ends_the_process_as_before():
    code = (
        'import signal, time; from rlops_lab.environments.calls import call_within; call_within(5, len, ""); '
        "signal.alarm(1); time.sleep(20)"
    )
    assert run([sys.executable, "-c", code], timeout=60).returncode == -signal.SIGALRM


def test_the_handler_of_somebody_else_is_put_back():
    before = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    try:
        call_within(30, lambda: 3)
        assert signal.getsignal(signal.SIGALRM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_call_inside_a_call_has_its_own_limit():
    def outer():
        with pytest.raises(TimeoutError, match="0.1 seconds"):
            call_within(0.1, time.sleep, 60)
        time.sleep(60)

    with pytest.raises(TimeoutError, match="0.5 seconds"):
        call_within(0.5, outer)


def test_ctrl_c_cancels_the_calls_that_wait():
    cancelled = threading.Event()

    async def hang():
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt), CallThreads() as threads:
        threads.start(lambda: run_sync(hang())).result()
    assert cancelled.wait(5)


def test_a_forked_process_gets_a_loop_of_its_own():
    assert run_sync(asyncio.sleep(0, 1)) == 1
    child = os.fork()
    if not child:
        os._exit(run_sync(asyncio.sleep(0, 7), 10))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_thread_that_hangs_does_not_keep_the_process_from_ending():
    code = (
        "import time\nfrom rlops_lab.environments.calls import CallThreads\n"
        'CallThreads().start(time.sleep, 60)\nprint("over")'
    )
    assert run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30).stdout == "over\n"


def test_a_call_sees_the_callers_context():
    request = contextvars.ContextVar("request")
    request.set("r1")

    async def tell():
        return request.get()

    assert run_sync(tell()) == "r1"
