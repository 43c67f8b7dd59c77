"""Prints requests signed by the providers' own Python libraries, with the sources that they are for.

A library that only verifies has to agree with a signature made here before it is printed.
"""

import base64
import datetime
import hashlib
import hmac
import json
import os
import time
import urllib.parse

now = int(time.time())
requests = []


def add(sdk, provider, secret, headers, body, params=None, forged=None, method="POST", query=""):
    """One request to the source of its own that this provider has here."""
    requests.append({
        "sdk": sdk,
        "source": f"{provider}-py",
        "provider": provider,
        "secret": secret,
        "params": params or {},
        "method": method,
        "query": query,
        "headers": headers,
        "body": body,
        # What is forged, if a byte in the middle of the body is not covered or not enough.
        "forged": forged,
    })


def url(provider):
    return f"https://hooks.example.com/in/{provider}-py"


def hmac_sha256(secret, message):
    return hmac.new(secret.encode(), message.encode(), hashlib.sha256)


JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}


def stripe():
    import stripe

    secret = "whsec_a stripe endpoint's secret"
    body = json.dumps({"id": "evt_sdk_python", "object": "event", "type": "charge.succeeded"})
    signature = stripe.WebhookSignature._compute_signature(f"{now}.{body}", secret)
    add("stripe (PyPI)", "stripe", secret, JSON | {"stripe-signature": f"t={now},v1={signature}"}, body)


def slack():
    from slack_sdk.signature import SignatureVerifier

    secret = "8f742231b10e8888abcd99yyyzzz85a5"
    verifier = SignatureVerifier(secret)
    for name, headers, body in [
        ("event", JSON, json.dumps({"type": "event_callback", "event_id": "Ev1", "event": {"type": "message"}})),
        ("command", FORM, "command=%2Fweather&text=94070&trigger_id=1.2"),
    ]:
        signature = verifier.generate_signature(timestamp=str(now), body=body)
        signed = headers | {"x-slack-request-timestamp": str(now), "x-slack-signature": signature}
        add(f"slack_sdk, {name}", "slack", secret, signed, body)


def standard():
    import standardwebhooks.webhooks
    import svix.webhooks

    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    at = datetime.datetime.fromtimestamp(now, tz=datetime.timezone.utc)
    for sdk, webhook, provider, prefix in [
        ("standardwebhooks (PyPI)", standardwebhooks.webhooks.Webhook, "standard-webhooks", "webhook"),
        ("svix", svix.webhooks.Webhook, "svix", "svix"),
    ]:
        body = json.dumps({"type": "user.deleted", "data": {"id": 2}})
        signature = webhook(secret).sign("msg_sdk_python", at, body)
        names = [f"{prefix}-{part}" for part in ("id", "timestamp", "signature")]
        add(sdk, provider, secret, JSON | dict(zip(names, ["msg_sdk_python", str(now), signature])), body)


def twilio():
    from twilio.request_validator import RequestValidator

    secret = "a twilio auth token"
    fields = {"MessageSid": "SM1", "MessageStatus": "delivered", "To": "+15558675310", "Körper": "grüße"}
    signature = RequestValidator(secret).compute_signature(url("twilio"), fields)
    body = urllib.parse.urlencode(fields)
    add("twilio (PyPI)", "twilio", secret, FORM | {"x-twilio-signature": signature}, body,
        forged={"body": body.replace("delivered", "failed")})
    # By GET, the same fields stand in the URL, and there are none besides.
    signature = RequestValidator(secret).compute_signature(f"{url('twilio')}?{body}", {})
    add("twilio (PyPI), GET", "twilio", secret, {"x-twilio-signature": signature}, "",
        method="GET", query=body, forged={"query": body.replace("delivered", "failed")})


def sendgrid():
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from sendgrid.helpers.eventwebhook import EventWebhook

    key = ec.generate_private_key(ec.SECP256R1())
    public = base64.b64encode(key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)).decode()
    body = json.dumps([{"event": "delivered", "sg_event_id": "sdk-1", "email": "a@example.com"}]) + "\r\n"
    signature = base64.b64encode(key.sign(f"{now}{body}".encode(), ec.ECDSA(hashes.SHA256()))).decode()
    assert EventWebhook(public).verify_signature(body, signature, str(now))
    add("sendgrid", "sendgrid", public, JSON | {
        "x-twilio-email-event-webhook-signature": signature,
        "x-twilio-email-event-webhook-timestamp": str(now),
    }, body)


def braintree():
    import braintree

    public, private = "integration_public_key", "integration_private_key"
    gateway = braintree.BraintreeGateway(braintree.Configuration(
        braintree.Environment.Sandbox, merchant_id="merchant", public_key=public, private_key=private))
    sample = gateway.webhook_testing.sample_notification(
        braintree.WebhookNotification.Kind.SubscriptionChargedSuccessfully, "sub_1")
    body = urllib.parse.urlencode({"bt_signature": sample["bt_signature"], "bt_payload": sample["bt_payload"].decode()})
    other = gateway.webhook_testing.sample_notification(braintree.WebhookNotification.Kind.Check, "sub_2")
    add("braintree", "braintree", private, FORM, body, {"public_key": public}, forged={
        "body": urllib.parse.urlencode({"bt_signature": sample["bt_signature"], "bt_payload": other["bt_payload"].decode()}),
    })


def adyen():
    from Adyen.util import generate_notification_sig, is_valid_hmac_notification

    secret = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
    item = {
        "pspReference": "7914073381342284", "originalReference": "", "merchantAccountCode": "TestMerchant",
        "merchantReference": "TestPayment-1407325143704", "amount": {"value": 1130, "currency": "EUR"},
        "eventCode": "AUTHORISATION", "success": "true",
    }
    signature = generate_notification_sig(item, secret).decode()
    signed = item | {"additionalData": {"hmacSignature": signature}}
    whole = {"live": "false", "notificationItems": [{"NotificationRequestItem": signed}]}
    assert is_valid_hmac_notification(whole, secret)
    body = json.dumps(whole)
    add("Adyen", "adyen", secret, JSON, body, forged={"body": body.replace("1130", "1131")})


def hubspot():
    from hubspot.utils.signature import Signature

    secret = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy"
    at = str(now * 1000)
    body = json.dumps([{"eventId": 1, "subscriptionType": "contact.creation", "objectId": 7}])
    signature = Signature.get_signature(secret, body, "v3", url("hubspot"), "POST", at)
    add("hubspot-api-client", "hubspot", secret, JSON | {
        "x-hubspot-signature-v3": signature, "x-hubspot-request-timestamp": at,
    }, body)
    query = "portalId=1&objectId=7"
    asked = f"{url('hubspot')}?{query}"
    forged = {"query": query.replace("7", "8")}
    signature = Signature.get_signature(secret, "", "v3", asked, "GET", at)
    add("hubspot-api-client, GET", "hubspot", secret, {
        "x-hubspot-signature-v3": signature, "x-hubspot-request-timestamp": at,
    }, "", method="GET", query=query, forged=forged)
    signature = Signature.get_signature(secret, "", "v2", asked, "GET")
    add("hubspot-api-client, GET by version 2", "hubspot", secret, {
        "x-hubspot-signature": signature, "x-hubspot-signature-version": "v2",
    }, "", method="GET", query=query, forged=forged)


def square():
    from square.utils.webhooks_helper import verify_signature

    secret = "a square signature key"
    body = json.dumps({"merchant_id": "M", "type": "payment.created", "event_id": "sdk-square"})
    signature = base64.b64encode(hmac_sha256(secret, url("square") + body).digest()).decode()
    assert verify_signature(
        request_body=body, signature_header=signature, signature_key=secret, notification_url=url("square"))
    add("squareup", "square", secret, JSON | {"x-square-hmacsha256-signature": signature}, body)


def paddle():
    from paddle_billing.Notifications.PaddleSignature import PaddleSignature

    secret = "pdl_ntfset_01hs0t3tw21j988db1pam5xg8m_GrOWLNef+vmtjJYq4mSnHNzvc8uWoJ1I"
    body = json.dumps({"event_id": "evt_sdk_paddle", "event_type": "transaction.completed", "data": {}})
    signature = PaddleSignature.calculate_hmac(secret, f"{now}:{body}".encode()).hexdigest()
    add("paddle-python-sdk", "paddle", secret, JSON | {"paddle-signature": f"ts={now};h1={signature}"}, body)


def razorpay():
    from razorpay.utility import Utility

    secret = "a razorpay webhook secret"
    body = json.dumps({"event": "payment.captured", "payload": {}, "created_at": now})
    signature = hmac_sha256(secret, body).hexdigest()
    assert Utility().verify_webhook_signature(body, signature, secret)
    add("razorpay", "razorpay", secret, JSON | {"x-razorpay-signature": signature, "x-razorpay-event-id": "sdk"}, body)


def line():
    from linebot.v3.webhook import SignatureValidator

    secret = "a line channel secret"
    body = json.dumps({"destination": "U1", "events": [{"type": "follow", "webhookEventId": "sdk-line"}]})
    signature = base64.b64encode(hmac_sha256(secret, body).digest()).decode()
    assert SignatureValidator(secret).validate(body, signature)
    add("line-bot-sdk", "line", secret, JSON | {"x-line-signature": signature}, body)


def discord():
    from discord_interactions import verify_key
    from nacl.signing import SigningKey

    key = SigningKey.generate()
    public = key.verify_key.encode().hex()
    body = json.dumps({"type": 2, "id": "sdk-discord", "data": {"name": "river"}})
    signature = key.sign(f"{now}{body}".encode()).signature.hex()
    assert verify_key(body.encode(), signature, str(now), public)
    add("discord-interactions", "discord", public, JSON | {
        "x-signature-ed25519": signature, "x-signature-timestamp": str(now),
    }, body)


def pubsub():
    from google.auth import crypt, jwt

    keys = os.environ["TEST_KEYS"]
    with open(f"{keys}/rsa-private.pem") as file:
        signer = crypt.RSASigner.from_string(file.read(), "k1")
    with open(f"{keys}/rsa-public.pem") as file:
        public = file.read()
    email = "push@example-project.iam.gserviceaccount.com"
    claims = {
        "iss": "https://accounts.google.com", "aud": url("google-pubsub"), "email": email, "email_verified": True,
        "iat": now, "exp": now + 3600,
    }
    token = jwt.encode(signer, claims).decode()
    other = jwt.encode(signer, claims | {"aud": "https://other.example.com"}).decode()
    body = json.dumps({"message": {"messageId": "sdk-pubsub", "data": "e30="}, "subscription": "s"})
    add("google-auth", "google-pubsub", public, JSON | {"authorization": f"Bearer {token}"}, body,
        {"service_account_email": email}, forged={"headers": {"authorization": f"Bearer {other}"}})


for sender in [
    stripe, slack, standard, twilio, sendgrid, braintree, adyen, hubspot, square, paddle, razorpay, line, discord, pubsub,
]:
    sender()
print(json.dumps(requests))
