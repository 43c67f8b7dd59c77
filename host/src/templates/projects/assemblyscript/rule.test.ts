import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { decide, Issue } from './rule';

function sample(name: string): Issue {
  const body = JSON.parse(readFileSync(`samples/${name}.json`, 'utf8'));
  const issue = new Issue();
  issue.hasIssue = true;
  issue.action = body.action;
  issue.repository = body.repository.full_name;
  issue.title = body.issue.title;
  issue.url = body.issue.html_url;
  issue.labels = body.issue.labels.map((label: { name: string }) => label.name);
  return issue;
}

test('a new issue is sent', () => {
  const decision = decide(sample('opened'));
  assert.equal(decision.kind, 'send');
  assert.equal(decision.text, 'acme/river: The gate does not open https://github.com/acme/river/issues/7');
  assert.equal(decision.urgent, false);
});

test('an urgent issue is marked', () => assert.equal(decide(sample('urgent')).urgent, true));

test('a closed issue is skipped', () => assert.equal(decide(sample('closed')).kind, 'skip'));

test('an event without an issue is rejected', () => assert.equal(decide(new Issue()).kind, 'reject'));
