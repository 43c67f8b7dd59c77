"""Makes and reads queues and topics with the client of AWS, for the tests of `sqs` and `sns`.

aws.py ENDPOINT queue NAME [ATTRIBUTE=VALUE...]   prints the URL of a new queue
aws.py ENDPOINT topic NAME QUEUE_URL              prints the ARN of a new topic that fills the queue
aws.py ENDPOINT drain QUEUE_URL                   prints every message as a line of JSON, in order
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


def key(user, *actions):
    iam = client("iam")
    iam.create_user(UserName=user)
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName=user, PolicyName="given", PolicyDocument=document)
    made = iam.create_access_key(UserName=user)["AccessKey"]
    print(made["AccessKeyId"], made["SecretAccessKey"])


{"queue": queue, "topic": topic, "drain": drain, "key": key}[command](*arguments)
