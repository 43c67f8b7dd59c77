"""Counts events by type, and sends each count to a destination."""

# Only modules that are imported here, at the top, become part of the component.
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
