"""A handler whose `handle` is a coroutine, which nothing awaits."""

import wit_world
from wit_world.imports import log


class WitWorld(wit_world.WitWorld):
    def describe(self):
        pass

    async def handle(self, event):
        log.info("never said")
