"""Learns the usual amounts of Stripe charges in each currency, and tells of those that are far from them."""

# Only modules that are imported here, at the top, become part of the component.
import json
import math

import wit_world
from wit_world.imports import config, log, manifest, outbox, request, state

# Charges of a currency before any of them can be unusual.
FEWEST = 20


def add(known, amount):
    """The count, mean and sum of squared deviations with one more amount, by Welford's method."""
    count, mean, squares = known
    count += 1
    step = amount - mean
    mean += step / count
    return count, mean, squares + step * (amount - mean)


def deviations(known, amount):
    """The distance of an amount from the mean, in standard deviations."""
    count, mean, squares = known
    deviation = math.sqrt(squares / count)
    return abs(amount - mean) / deviation if deviation else 0.0


class WitWorld(wit_world.WitWorld):
    def describe(self):
        manifest.about("Tells of Stripe charges whose amounts are unusual.")
        manifest.subscribe("stripe:charge.succeeded")

    def handle(self, event):
        charge = json.loads(request.text()).get("data", {}).get("object")
        if not charge:
            return
        currency, amount = charge["currency"], charge["amount"]
        stored = state.get(f"amounts/{currency}")
        known = json.loads(stored) if stored else (0, 0.0, 0.0)

        if known[0] >= FEWEST:
            far = deviations(known, amount)
            log.info(f"{charge['id']}: {amount} {currency}, {far:.1f} deviations from the mean")
            if far >= float(config.get("deviations") or 4):
                message = {"charge": charge["id"], "amount": amount, "currency": currency, "mean": round(known[1])}
                outbox.send_json(config.get("destination") or "inbox", json.dumps(message))

        state.set(f"amounts/{currency}", json.dumps(add(known, amount)))
