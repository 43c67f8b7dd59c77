"""Counts events by their type, and tells a destination about each."""

# What is imported here, at the top, is what the module will hold.
import json

import wit_world
from wit_world.imports import config, log, manifest, outbox, state


class WitWorld(wit_world.WitWorld):
    def describe(self):
        manifest.about("Counts events by their type.")
        manifest.subscribe("*:*")

    def handle(self, event):
        kind = f"{event.source}:{event.type}"
        count = state.add(kind, 1)
        log.info(f"{kind} number {count}")
        message = json.dumps({"type": kind, "count": count})
        outbox.send_json(config.get("destination") or "inbox", message)
