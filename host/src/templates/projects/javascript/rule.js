// The decision about an event, as a plain function: `npm test` runs it without a hub.

/**
 * Decides by the body of an event of the type `issues`.
 * @param {string} body
 * @returns {{ reject?: string, repository?: string, text?: string, urgent?: boolean }}
 */
export function decide(body) {
  let event;
  try {
    event = JSON.parse(body);
  } catch (error) {
    return { reject: `the body is not JSON: ${error.message}` };
  }
  const { action, issue, repository } = event;
  if (typeof issue !== 'object') return { reject: 'the body has no issue' };
  if (action !== 'opened') return {};
  return {
    repository: repository.full_name,
    text: `${repository.full_name}: ${issue.title} ${issue.html_url}`,
    urgent: issue.labels.some((label) => label.name === 'urgent'),
  };
}
