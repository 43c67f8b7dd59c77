// The decision about an event, as a plain function without AssemblyScript's own types, so that
// `npm test` runs it as TypeScript, without a hub.

/** Facts of an event `issues`, as `main.ts` reads them from its body. */
export class Issue {
  hasIssue: boolean = false;
  action: string = "";
  repository: string = "unknown";
  title: string = "";
  url: string = "";
  labels: string[] = [];
}

export class Decision {
  /** `send`, `skip` or `reject`. */
  kind: string = "skip";
  text: string = "";
  urgent: boolean = false;
}

export function decide(issue: Issue): Decision {
  const decision = new Decision();
  if (!issue.hasIssue) {
    decision.kind = "reject";
    decision.text = "the body has no issue";
  } else if (issue.action == "opened") {
    decision.kind = "send";
    decision.text = issue.repository + ": " + issue.title + " " + issue.url;
    decision.urgent = issue.labels.includes("urgent");
  }
  return decision;
}
