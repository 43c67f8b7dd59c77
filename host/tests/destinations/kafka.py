"""A cluster of Kafka for the tests of `kafka`: the mock cluster of librdkafka, which its own tests use, with three servers.

It reads commands from its standard input, one JSON list each, and answers each with one line of JSON:

["topic", NAME, PARTITIONS]       makes a topic
["away"], ["back"]                stops the servers, and starts them again on their ports
["leader", NAME, PARTITION, NODE] gives a partition another leader
["refuse", NODE, CODE...]         answers the next requests to append with these error codes
["read", NAME]                    the messages of a topic, each partition in its order
["login", MECHANISM, USER, PASSWORD]  an address in front of the first server that asks for a login; it has SCRAM of an
                                  independent library, and passes on what follows

The first line that it prints is the address of the first server.
"""

import ctypes
import glob
import json
import os
import socket
import struct
import sys
import threading

import confluent_kafka
from confluent_kafka import Consumer, TopicPartition

libraries = os.path.join(os.path.dirname(confluent_kafka.__file__), "..", "confluent_kafka.libs", "librdkafka*")
kafka = ctypes.CDLL(glob.glob(libraries)[0])
NODES = 3
PRODUCE = 0


def function(name, result, *arguments):
    found = getattr(kafka, name)
    found.restype, found.argtypes = result, arguments
    return found


void, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
conf_new = function("rd_kafka_conf_new", void)
conf_set = function("rd_kafka_conf_set", number, void, text, text, text, ctypes.c_size_t)
new = function("rd_kafka_new", void, number, void, text, ctypes.c_size_t)
cluster_new = function("rd_kafka_mock_cluster_new", void, void, number)
bootstraps = function("rd_kafka_mock_cluster_bootstraps", text, void)
topic_create = function("rd_kafka_mock_topic_create", number, void, text, number, number)
set_down = function("rd_kafka_mock_broker_set_down", number, void, ctypes.c_int32)
set_up = function("rd_kafka_mock_broker_set_up", number, void, ctypes.c_int32)
set_leader = function("rd_kafka_mock_partition_set_leader", number, void, text, ctypes.c_int32, ctypes.c_int32)
push_errors = kafka.rd_kafka_mock_broker_push_request_error_rtts

error = ctypes.create_string_buffer(512)
conf = conf_new()
conf_set(conf, b"log_level", b"3", error, 512)
cluster = cluster_new(new(0, conf, error, 512), NODES)
servers = bootstraps(cluster).decode()


def away():
    for node in range(1, NODES + 1):
        set_down(cluster, node)


def back():
    for node in range(1, NODES + 1):
        set_up(cluster, node)


def refuse(node, *codes):
    arguments = [value for code in codes for value in (ctypes.c_int(code), ctypes.c_int(0))]
    count = ctypes.c_size_t(len(codes))
    push_errors(void(cluster), ctypes.c_int32(node), ctypes.c_int16(PRODUCE), count, *arguments)


def read(topic):
    settings = {"bootstrap.servers": servers, "group.id": "test", "check.crcs": True, "enable.partition.eof": True}
    consumer = Consumer(settings | {"auto.offset.reset": "earliest"})
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    messages, open_ones = [], set(partitions)
    while open_ones:
        message = consumer.poll(10)
        if message is None:
            raise RuntimeError("no more messages, and no end")
        if message.error():
            open_ones.discard(message.partition())
            continue
        key = message.key()
        messages.append(
            {
                "partition": message.partition(),
                "key": None if key is None else key.decode(),
                "value": message.value().hex(),
                "headers": {name: value.decode() for name, value in message.headers() or []},
                "timestamp": message.timestamp()[1],
            }
        )
    consumer.close()
    return messages


def login(mechanism, user, password):
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    threading.Thread(target=accept, args=(listener, mechanism, user, password), daemon=True).start()
    return f"127.0.0.1:{port}"


def accept(listener, *account):
    while True:
        client, _ = listener.accept()
        threading.Thread(target=serve, args=(client, *account), daemon=True).start()


def frame(stream):
    head = stream.read(4)
    return stream.read(struct.unpack(">i", head)[0]) if len(head) == 4 else None


def serve(client, mechanism, user, password):
    host, port = servers.split(",")[0].rsplit(":", 1)
    server = socket.create_connection((host, int(port)))
    requests, answers = client.makefile("rb"), server.makefile("rb")
    scram, known = None, False
    while (request := frame(requests)) is not None:
        key, version, correlation = struct.unpack(">hhi", request[:8])
        client_id = struct.unpack(">h", request[8:10])[0]
        body = request[10 + client_id :]
        if key == 17:
            offered = struct.pack(">ih", 1, len(mechanism)) + mechanism.encode()
            asked = body[2:].decode()
            answer = struct.pack(">h", 0 if asked == mechanism else 33) + offered
        elif key == 36:
            scram, known, answer = step(scram, mechanism, user, password, body[4:])
        elif key == 18 or known:
            server.sendall(struct.pack(">i", len(request)) + request)
            answer = frame(answers)[4:]
            if key == 18:
                # The mock cluster has no login of its own.
                answer = answer[:2] + struct.pack(">i", struct.unpack(">i", answer[2:6])[0] + 2) + answer[6:]
                answer += struct.pack(">hhhhhh", 17, 0, 1, 36, 0, 1)
        else:
            break
        client.sendall(struct.pack(">ii", 4 + len(answer), correlation) + answer)
    client.close()
    server.close()


def step(scram, mechanism, user, password, message):
    """One message of the login: what follows, whether it has succeeded, and the answer."""
    from scramp import ScramException, ScramMechanism

    refused = struct.pack(">hhi", 58, -1, 0)
    if mechanism == "PLAIN":
        known = message.split(b"\0") == [b"", user.encode(), password.encode()]
        return None, known, struct.pack(">hhi", 0, -1, 0) if known else refused
    try:
        if scram is None:
            chosen = ScramMechanism(mechanism)
            auth = chosen.make_auth_info(password)
            scram = chosen.make_server(lambda name: auth if name == user else chosen.make_auth_info("another"))
            scram.set_client_first(message.decode())
            said, known = scram.get_server_first(), False
        else:
            scram.set_client_final(message.decode())
            said, known = scram.get_server_final(), True
    except ScramException:
        return None, False, refused
    return scram, known, struct.pack(">hhi", 0, -1, len(said)) + said.encode()


commands = {
    "topic": lambda name, count: topic_create(cluster, name.encode(), count, NODES),
    "away": away,
    "back": back,
    "leader": lambda name, partition, node: set_leader(cluster, name.encode(), partition, node),
    "refuse": refuse,
    "read": read,
    "login": login,
}
print(json.dumps(servers.split(",")[0]), flush=True)
for line in sys.stdin:
    command, *arguments = json.loads(line)
    print(json.dumps(commands[command](*arguments)), flush=True)
