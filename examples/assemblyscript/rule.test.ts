import assert from 'node:assert/strict';
import { test } from 'node:test';

import { milestone } from './rule';

test('round numbers are milestones', () => {
  const found = [...Array(600).keys()].filter((stars) => milestone(stars));
  assert.deepEqual(found, [1, 5, 10, 50, 100, 500]);
});
