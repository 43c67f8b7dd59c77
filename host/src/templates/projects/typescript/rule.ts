// The decision about an event, as a plain function: `npm test` runs it without a hub.

export type Decision =
  | { kind: 'send'; repository: string; text: string; urgent: boolean }
  | { kind: 'skip' }
  | { kind: 'reject'; reason: string };

/** The fields of GitHub's event `issues` that matter here. */
interface IssuesEvent {
  action: string;
  issue?: { title: string; html_url: string; labels: { name: string }[] };
  repository: { full_name: string };
}

/** Decides by the body of an event of the type `issues`. */
export function decide(body: string): Decision {
  let event: IssuesEvent;
  try {
    event = JSON.parse(body) as IssuesEvent;
  } catch (error) {
    return { kind: 'reject', reason: `the body is not JSON: ${(error as Error).message}` };
  }
  const { action, issue, repository } = event;
  if (issue === undefined) return { kind: 'reject', reason: 'the body has no issue' };
  if (action !== 'opened') return { kind: 'skip' };
  return {
    kind: 'send',
    repository: repository.full_name,
    text: `${repository.full_name}: ${issue.title} ${issue.html_url}`,
    urgent: issue.labels.some((label) => label.name === 'urgent'),
  };
}
