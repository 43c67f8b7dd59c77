import assert from 'node:assert/strict';
import { test } from 'node:test';

import { decide } from './rule';

const body = (action: string, draft = false): string => JSON.stringify({
  action,
  pull_request: { number: 3, title: 'Wider gates', html_url: 'https://example.com/3', draft },
  repository: { full_name: 'acme/river' },
});

test('a new pull request waits for a review', () => {
  const decision = decide('pull_request', body('opened'));
  assert.deepEqual([decision.kind, decision.pullRequest], ['remind', 'acme/river#3']);
});

test('a draft does not', () => assert.equal(decide('pull_request', body('opened', true)).kind, 'other'));

test('a review ends the wait', () => {
  assert.equal(decide('pull_request_review', body('submitted')).kind, 'reviewed');
});
