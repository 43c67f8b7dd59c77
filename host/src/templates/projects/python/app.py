"""Sends a message for each issue that is opened on GitHub. What it decides is in `rule.py`."""

# Only modules that are imported here, at the top, become part of the component.
import json

import wit_world
from componentize_py_types import Err
from wit_world.imports import config, log, manifest, outbox, request, state
from wit_world.imports.types import Failure_Reject, Failure_Retry

from rule import Reject, Skip, decide


class WitWorld(wit_world.WitWorld):
    def describe(self):
        manifest.about("Sends a message for each new issue.")
        manifest.subscribe("github:issues")

    def handle(self, event):
        if config.get("paused") == "true":
            raise Err(Failure_Retry("paused in [config]"))

        decision = decide(request.text())
        if isinstance(decision, Reject):
            raise Err(Failure_Reject(decision.reason))
        if isinstance(decision, Skip):
            return

        count = state.add(f"opened/{decision.repository}", 1)
        log.info(f"issue number {count} of {decision.repository}")

        def send(text):
            outbox.send_json(config.get("destination") or "inbox", json.dumps({"text": text, "count": count}))

        send(decision.text)
        if decision.urgent:
            send(f"{decision.repository} has an urgent issue")
