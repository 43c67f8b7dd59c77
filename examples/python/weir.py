"""Runs coroutines in a handler. `asyncio.run` needs sockets for its loop, and a handler has none."""

import asyncio
import time


class _Sleeper:
    """Takes the place of a selector. Only the next timer can happen."""

    def select(self, timeout=None):
        if timeout is None:
            raise RuntimeError("what this coroutine waits for can never happen in a handler")
        if timeout > 0:
            # Takes no time: the run's clock jumps.
            time.sleep(timeout)
        return []


class _Loop(asyncio.BaseEventLoop):
    def __init__(self):
        super().__init__()
        self._selector = _Sleeper()

    def _process_events(self, events):
        pass

    def _write_to_self(self):
        pass


def run(coroutine):
    """Runs a coroutine to its end and returns its result. Unfinished tasks are cancelled, as by `asyncio.run`."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(coroutine)
