"""Makes, fills and reads queues and topics with the client of AWS, for the tests of `sqs` and `sns`.

aws.py ENDPOINT queue NAME [ATTRIBUTE=VALUE...]   prints the URL of a new queue
aws.py ENDPOINT topic NAME QUEUE_URL              prints the ARN of a new topic that fills the queue
aws.py ENDPOINT drain QUEUE_URL                   prints every message as a line of JSON, in order
aws.py ENDPOINT fill QUEUE_URL FIRST COUNT        sends numbered messages, and prints their ids
aws.py ENDPOINT put QUEUE_URL BODY [NAME=VALUE...]  sends a message with attributes, and prints its id
aws.py ENDPOINT left QUEUE_URL                    prints the number of messages in the queue, hidden ones too
aws.py ENDPOINT key USER [ACTION...]              prints the id and the secret of a key with these permissions
"""

import json
import sys

import boto3

endpoint, command, *arguments = sys.argv[1:]


def client(service):
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    return boto3.client(service, endpoint_url=endpoint, region_name="eu-west-1", **keys)


def queue(name, *attributes):
    wanted = dict(attribute.split("=", 1) for attribute in attributes)
    print(client("sqs").create_queue(QueueName=name, Attributes=wanted)["QueueUrl"])


def topic(name, queue_url):
    fifo = {"FifoTopic": "true"} if name.endswith(".fifo") else {}
    arn = client("sns").create_topic(Name=name, Attributes=fifo)["TopicArn"]
    asked = client("sqs").get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
    client("sns").subscribe(
        TopicArn=arn,
        Protocol="sqs",
        Endpoint=asked["Attributes"]["QueueArn"],
        Attributes={"RawMessageDelivery": "true"},
    )
    print(arn)


def drain(queue_url):
    sqs = client("sqs")
    while messages := sqs.receive_message(
        QueueUrl=queue_url,
        MaxNumberOfMessages=10,
        MessageAttributeNames=["All"],
        AttributeNames=["All"],
    ).get("Messages"):
        for message in messages:
            attributes = message.get("MessageAttributes", {})
            line = {
                "body": message["Body"],
                "attributes": {name: value["StringValue"] for name, value in attributes.items()},
                "group": message["Attributes"].get("MessageGroupId"),
                "deduplication": message["Attributes"].get("MessageDeduplicationId"),
            }
            print(json.dumps(line))
        entries = [
            {"Id": str(index), "ReceiptHandle": message["ReceiptHandle"]}
            for index, message in enumerate(messages)
        ]
        sqs.delete_message_batch(QueueUrl=queue_url, Entries=entries)


def fill(queue_url, first, count):
    sqs = client("sqs")
    ordered = {"MessageGroupId": "all"} if queue_url.endswith(".fifo") else {}
    numbers = range(int(first), int(first) + int(count))
    for start in range(0, len(numbers), 10):
        entries = [
            {"Id": str(n), "MessageBody": json.dumps({"n": n})}
            | (ordered | {"MessageDeduplicationId": str(n)} if ordered else {})
            for n in numbers[start : start + 10]
        ]
        sent = sqs.send_message_batch(QueueUrl=queue_url, Entries=entries)
        assert not sent.get("Failed"), sent
        ids = {one["Id"]: one["MessageId"] for one in sent["Successful"]}
        for entry in entries:
            print(ids[entry["Id"]])


def put(queue_url, body, *attributes):
    named = dict(attribute.split("=", 1) for attribute in attributes)
    attributes = {name: {"DataType": "String", "StringValue": value} for name, value in named.items()}
    sent = client("sqs").send_message(QueueUrl=queue_url, MessageBody=body, MessageAttributes=attributes)
    print(sent["MessageId"])


def left(queue_url):
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    asked = client("sqs").get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)
    print(sum(int(asked["Attributes"][name]) for name in names))


def key(user, *actions):
    iam = client("iam")
    iam.create_user(UserName=user)
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName=user, PolicyName="given", PolicyDocument=document)
    made = iam.create_access_key(UserName=user)["AccessKey"]
    print(made["AccessKeyId"], made["SecretAccessKey"])


commands = [queue, topic, drain, fill, put, left, key]
{function.__name__: function for function in commands}[command](*arguments)
