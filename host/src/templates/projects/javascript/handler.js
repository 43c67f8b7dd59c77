// Sends a message for each issue that is opened on GitHub. What it decides is in `rule.js`.
import * as config from 'weir:handler/config';
import * as manifest from 'weir:handler/manifest';
import * as outbox from 'weir:handler/outbox';
import * as request from 'weir:handler/request';
import * as state from 'weir:handler/state';

import { decide } from './rule.js';

export function describe() {
  manifest.about('Sends a message for each new issue.');
  manifest.subscribe('github:issues');
}

// It may be async; what it awaits runs before the run ends.
export async function handle() {
  if (config.get('paused') === 'true') throw { tag: 'retry', val: 'paused in [config]' };

  const { reject, repository, text, urgent } = decide(request.text());
  if (reject !== undefined) throw { tag: 'reject', val: reject };
  if (text === undefined) return;

  // Some engines return a BigInt here, others a number.
  const count = Number(state.add(`opened/${repository}`, 1));
  console.log(`issue number ${count} of ${repository}`);

  const send = (text) => outbox.sendJson(config.get('destination') ?? 'inbox', JSON.stringify({ text, count }));
  send(text);
  if (urgent) send(`${repository} has an urgent issue`);
}
