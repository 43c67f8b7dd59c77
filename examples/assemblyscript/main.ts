// Sends a message when a repository reaches a round number of stars. A command: JSON on stdin,
// effects on stdout.
import { JSON } from "json-as";
import { milestone } from "./rule";

@json
class Input {
  body: string = "";
  config: Map<string, string> = new Map<string, string>();
}

@json
class Repository {
  full_name: string = "";
  stargazers_count: i32 = 0;
}

@json
class StarEvent {
  action: string = "";
  repository: Repository = new Repository();
}

@json
class Message {
  text: string = "";
}

@json
class Send {
  effect: string = "send";
  destination: string = "inbox";
  json: Message = new Message();
}

function main(): void {
  const input = JSON.parse<Input>(String.UTF8.decode(readAll()));
  const event = JSON.parse<StarEvent>(input.body);
  const stars = event.repository.stargazers_count;
  if (event.action != "created" || !milestone(stars)) return;
  process.stderr.write(event.repository.full_name + " has " + stars.toString() + " stars\n");
  const line = new Send();
  if (input.config.has("destination")) line.destination = input.config.get("destination");
  line.json.text = event.repository.full_name + " has " + stars.toString() + " stars";
  process.stdout.write(JSON.stringify(line) + "\n");
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
