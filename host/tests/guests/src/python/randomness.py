"""Logs random values, from a coroutine that is run to its end."""

import asyncio
import os
import random
import uuid

import weir
import wit_world
from wit_world.imports import log


async def say():
    for value in (random.random(), uuid.uuid4(), os.urandom(8).hex()):
        await asyncio.sleep(60)
        log.info(str(value))


class WitWorld(wit_world.WitWorld):
    def describe(self):
        pass

    def handle(self, event):
        weir.run(say())
