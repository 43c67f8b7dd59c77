"""A server with the REST interface of Pub/Sub, for the tests of `pubsub`: there is no emulator of it in a registry.

It reads requests as Google's own message types, and checks tokens with Google's own library. What it refuses, and with
which codes and words, is from the pages of limits and of error codes.

pubsub.py key FILE               writes the key file of a new service account, and its public key beside it
pubsub.py serve PORT             serves, and asks for no token
pubsub.py serve PORT PUBLIC_KEY  serves, and checks tokens by that key

pubsub.py ask ADDRESS METHOD PATH [BODY]  asks such a server, and prints what it answers

PUT /v1/TOPIC makes a topic. Two requests are only for the test: GET /messages returns every message in order, and
PUT /permission with `true` or `false` says whether the account may publish.
"""

import base64
import json
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

EMAIL = "hub@shop-1.iam.gserviceaccount.com"
KEY_ID = "key-1"
AUDIENCE = "https://pubsub.googleapis.com/"
MESSAGE_BYTES_MAX = 100_000  # the real one takes 10,000,000
CODES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}


def key(file):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    document = {
        "type": "service_account",
        "project_id": "shop-1",
        "private_key_id": KEY_ID,
        "private_key": pem.decode(),
        "client_email": EMAIL,
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    with open(file, "w") as out:
        json.dump(document, out)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with open(file + ".public", "wb") as out:
        out.write(public)


class Refused(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Topics:
    def __init__(self, public_key):
        self.public_key = public_key
        self.names = set()
        self.messages = []
        self.may_publish = True
        self.lock = threading.Lock()

    def check_token(self, header):
        from google.auth import exceptions, jwt

        if self.public_key is None:
            return
        scheme, _, token = (header or "").partition(" ")
        if scheme != "Bearer":
            raise Refused(401, "Request is missing required authentication credential.")
        try:
            claims = jwt.decode(token, certs={KEY_ID: self.public_key}, audience=AUDIENCE)
        except (ValueError, exceptions.GoogleAuthError) as error:
            raise Refused(401, f"Request had invalid authentication credentials: {error}") from error
        if claims["iss"] != EMAIL or claims["sub"] != EMAIL or claims["exp"] - claims["iat"] > 3600:
            raise Refused(401, "Request had invalid authentication credentials.")

    def publish(self, topic, body):
        from google.protobuf import json_format
        from google.pubsub_v1.types import PublishRequest

        try:
            request = json_format.Parse(body, PublishRequest.pb(PublishRequest()))
        except json_format.ParseError as error:
            raise Refused(400, f"Invalid JSON payload received. {error}") from error
        if not self.may_publish:
            raise Refused(403, "User not authorized to perform this action.")
        if topic not in self.names:
            raise Refused(404, f"Resource not found (resource={topic.rsplit('/', 1)[-1]}).")
        if not 1 <= len(request.messages) <= 1000:
            raise Refused(400, "The request contains too many messages, or none.")
        for message in request.messages:
            self.check_message(message)
        with self.lock:
            first = len(self.messages)
            for message in request.messages:
                self.messages.append(
                    {
                        "data": base64.b64encode(message.data).decode(),
                        "attributes": dict(message.attributes),
                        "ordering_key": message.ordering_key,
                    }
                )
            return {"messageIds": [str(n) for n in range(first, len(self.messages))]}

    @staticmethod
    def check_message(message):
        attributes = message.attributes
        if not message.data and not attributes:
            raise Refused(400, "One or more messages in the publish request is empty.")
        if message.ByteSize() > MESSAGE_BYTES_MAX:
            raise Refused(400, "The value for message_size is too large.")
        if len(attributes) > 100 or len(message.ordering_key) > 1024:
            raise Refused(400, "The value for attributes_count or ordering_key is too large.")
        for name, value in attributes.items():
            sizes = (len(name.encode()), len(value.encode()))
            if not 1 <= sizes[0] <= 256 or sizes[1] > 1024 or name.startswith("goog"):
                raise Refused(400, f"The attribute {name} is not allowed.")

    def permissions(self, topic, body):
        asked = json.loads(body)["permissions"]
        granted = asked if self.may_publish and topic in self.names else []
        return {"permissions": granted} if granted else {}


class Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    topics = None

    def answer(self, work):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        status, answer = 200, None
        try:
            answer = work(body)
        except Refused as refused:
            status = refused.code
            answer = {"error": {"code": status, "message": str(refused), "status": CODES[status]}}
        encoded = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def do_GET(self):
        def work(_):
            if self.path == "/messages":
                return self.topics.messages
            topic = self.path.removeprefix("/v1/")
            if topic not in self.topics.names:
                raise Refused(404, "Resource not found.")
            return {"name": topic}

        self.answer(work)

    def do_PUT(self):
        def work(body):
            if self.path == "/permission":
                self.topics.may_publish = json.loads(body)
            else:
                self.topics.names.add(self.path.removeprefix("/v1/"))
            return {}

        self.answer(work)

    def do_POST(self):
        def work(body):
            self.topics.check_token(self.headers.get("authorization"))
            topic, _, method = self.path.removeprefix("/v1/").rpartition(":")
            methods = {"publish": self.topics.publish, "testIamPermissions": self.topics.permissions}
            if method not in methods:
                raise Refused(404, "Method not found.")
            return methods[method](topic, body)

        self.answer(work)

    def log_message(self, *_):
        pass


def serve(port, public_key=None):
    text = None
    if public_key:
        with open(public_key, "rb") as file:
            text = file.read()
    Requests.topics = Topics(text)
    ThreadingHTTPServer(("127.0.0.1", int(port)), Requests).serve_forever()


def ask(address, method, path, body=""):
    request = urllib.request.Request(f"http://{address}{path}", data=body.encode(), method=method)
    with urllib.request.urlopen(request) as answer:
        print(answer.read().decode())


{"key": key, "serve": serve, "ask": ask}[sys.argv[1]](*sys.argv[2:])
