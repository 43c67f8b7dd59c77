"""Prints requests signed by the providers' own Python libraries."""

import datetime
import json
import os
import time

import stripe
from slack_sdk.signature import SignatureVerifier
from standardwebhooks.webhooks import Webhook

secrets = json.loads(os.environ["SECRETS"])
now = int(time.time())
requests = []

body = json.dumps({"id": "evt_sdk_python", "object": "event", "type": "charge.succeeded"})
signature = stripe.WebhookSignature._compute_signature(f"{now}.{body}", secrets["stripe"])
requests.append({
    "sdk": "stripe (PyPI)",
    "source": "stripe",
    "headers": {"content-type": "application/json", "stripe-signature": f"t={now},v1={signature}"},
    "body": body,
})

verifier = SignatureVerifier(secrets["slack"])
for name, content_type, body in [
    ("event", "application/json", json.dumps({"type": "event_callback", "event_id": "Ev1", "event": {"type": "message"}})),
    ("command", "application/x-www-form-urlencoded", "command=%2Fweather&text=94070&trigger_id=1.2"),
]:
    requests.append({
        "sdk": f"slack_sdk, {name}",
        "source": "slack",
        "headers": {
            "content-type": content_type,
            "x-slack-request-timestamp": str(now),
            "x-slack-signature": verifier.generate_signature(timestamp=str(now), body=body),
        },
        "body": body,
    })

body = json.dumps({"type": "user.deleted", "data": {"id": 2}})
at = datetime.datetime.fromtimestamp(now, tz=datetime.timezone.utc)
requests.append({
    "sdk": "standardwebhooks (PyPI)",
    "source": "standard",
    "headers": {
        "content-type": "application/json",
        "webhook-id": "msg_sdk_python",
        "webhook-timestamp": str(now),
        "webhook-signature": Webhook(secrets["standard"]).sign("msg_sdk_python", at, body),
    },
    "body": body,
})

print(json.dumps(requests))
