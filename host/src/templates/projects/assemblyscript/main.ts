// The handler: sends a message for each issue that is opened on GitHub. What it decides is in
// `rule.ts`.
//
// It is a command: it reads one JSON document on stdin and prints each effect as a line of JSON.
// Stderr is the log, and the exit code is the outcome. Do not use `console`: it prints on stdout.
import { JSON } from "json-as";
import { decide, Issue } from "./rule";

const EXIT_REJECT = 65; // it will never succeed
const EXIT_RETRY = 75; // it may succeed later

@json
class Input {
  body: string = "";
  config: Map<string, string> = new Map<string, string>();
}

@json
class Label {
  name: string = "";
}

@json
class IssueFields {
  title: string = "";
  html_url: string = "";
  labels: Label[] = [];
}

@json
class Repository {
  full_name: string = "unknown";
}

@json
class IssuesEvent {
  action: string = "";
  issue: IssueFields | null = null;
  repository: Repository = new Repository();
}

@json
class Message {
  text: string = "";
}

@json
class Send {
  effect: string = "send";
  destination: string = "";
  json: Message = new Message();
}

@json
class Add {
  effect: string = "state.add";
  key: string = "";
  delta: i64 = 1;
}

function fail(code: i32, reason: string): void {
  process.stderr.write(reason + "\n");
  process.exit(code);
}

/** The facts that `rule.ts` decides by. */
function facts(body: string): Issue {
  const event = JSON.parse<IssuesEvent>(body);
  const facts = new Issue();
  facts.action = event.action;
  facts.repository = event.repository.full_name;
  const issue = event.issue;
  if (issue !== null) {
    facts.hasIssue = true;
    facts.title = issue.title;
    facts.url = issue.html_url;
    for (let i = 0; i < issue.labels.length; i++) facts.labels.push(issue.labels[i].name);
  }
  return facts;
}

function send(destination: string, text: string): void {
  const line = new Send();
  line.destination = destination;
  line.json.text = text;
  process.stdout.write(JSON.stringify(line) + "\n");
}

function main(): void {
  const input = JSON.parse<Input>(String.UTF8.decode(readAll()));
  const config = input.config;
  if (config.has("paused") && config.get("paused") == "true") fail(EXIT_RETRY, "paused in [config]");
  const destination = config.has("destination") ? config.get("destination") : "inbox";

  if (!input.body.startsWith("{")) fail(EXIT_REJECT, "the body is not JSON of an issue");
  const issue = facts(input.body);
  const decision = decide(issue);
  if (decision.kind == "reject") fail(EXIT_REJECT, decision.text);
  if (decision.kind == "skip") return;

  process.stderr.write("an issue of " + issue.repository + "\n");
  const count = new Add();
  count.key = "opened/" + issue.repository;
  process.stdout.write(JSON.stringify(count) + "\n");
  send(destination, decision.text);
  if (decision.urgent) send(destination, issue.repository + " has an urgent issue");
}

function readAll(): ArrayBuffer {
  const piece = new ArrayBuffer(64 * 1024);
  let all = new Uint8Array(0);
  for (let read = process.stdin.read(piece); read > 0; read = process.stdin.read(piece)) {
    const longer = new Uint8Array(all.length + read);
    longer.set(all);
    longer.set(Uint8Array.wrap(piece, 0, read), all.length);
    all = longer;
  }
  return all.buffer;
}

main();
