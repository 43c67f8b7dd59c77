// What a pull request needs, as a plain function.

export interface Decision {
  kind: 'remind' | 'reviewed' | 'other';
  pullRequest: string;
  text: string;
}

interface Body {
  action: string;
  pull_request: { number: number; title: string; html_url: string; draft?: boolean };
  repository: { full_name: string };
}

export function decide(type: string, text: string): Decision {
  const { action, pull_request: request, repository } = JSON.parse(text) as Body;
  const pullRequest = `${repository.full_name}#${request.number}`;
  const decision = (kind: Decision['kind']): Decision => ({
    kind,
    pullRequest,
    text: `${pullRequest} waits for a review: ${request.title} ${request.html_url}`,
  });
  if (type === 'pull_request_review' || action === 'closed') return decision('reviewed');
  const waits = action === 'opened' || action === 'ready_for_review';
  return decision(waits && request.draft !== true ? 'remind' : 'other');
}
