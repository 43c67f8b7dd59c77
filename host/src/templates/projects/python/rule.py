"""The decision about an event, as a plain function: `python3 -m unittest` runs it without a hub."""

import json
from dataclasses import dataclass


@dataclass
class Send:
    repository: str
    text: str
    urgent: bool


@dataclass
class Skip:
    pass


@dataclass
class Reject:
    reason: str


def decide(body: str) -> Send | Skip | Reject:
    """Decides by the body of an event of the type `issues`."""
    try:
        event = json.loads(body)
    except ValueError as error:
        return Reject(f"the body is not JSON: {error}")
    issue = event.get("issue")
    if issue is None:
        return Reject("the body has no issue")
    if event["action"] != "opened":
        return Skip()
    repository = event["repository"]["full_name"]
    return Send(
        repository=repository,
        text=f"{repository}: {issue['title']} {issue['html_url']}",
        urgent=any(label["name"] == "urgent" for label in issue["labels"]),
    )
