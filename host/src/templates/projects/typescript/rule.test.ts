import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { decide } from './rule';

const sample = (name: string): string => readFileSync(`samples/${name}.json`, 'utf8');

test('a new issue is sent', () => {
  assert.deepEqual(decide(sample('opened')), {
    kind: 'send',
    repository: 'acme/river',
    text: 'acme/river: The gate does not open https://github.com/acme/river/issues/7',
    urgent: false,
  });
});

test('an urgent issue is marked', () => {
  const decision = decide(sample('urgent'));
  assert.ok(decision.kind === 'send' && decision.urgent);
});

test('a closed issue is skipped', () => assert.deepEqual(decide(sample('closed')), { kind: 'skip' }));

test('a body without an issue is rejected', () => {
  assert.deepEqual(decide('{}'), { kind: 'reject', reason: 'the body has no issue' });
  assert.equal(decide('no JSON').kind, 'reject');
});
