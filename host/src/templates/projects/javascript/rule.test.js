import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { decide } from './rule.js';

const sample = (name) => readFileSync(new URL(`samples/${name}.json`, import.meta.url), 'utf8');

test('a new issue is sent', () => {
  assert.deepEqual(decide(sample('opened')), {
    repository: 'acme/river',
    text: 'acme/river: The gate does not open https://github.com/acme/river/issues/7',
    urgent: false,
  });
});

test('an urgent issue is marked', () => assert.equal(decide(sample('urgent')).urgent, true));

test('a closed issue is skipped', () => assert.deepEqual(decide(sample('closed')), {}));

test('a body without an issue is rejected', () => {
  assert.equal(decide('{}').reject, 'the body has no issue');
  assert.match(decide('no JSON').reject, /^the body is not JSON/);
});
