// Sends a message for each issue that is opened on GitHub. What it decides is in `rule.ts`.
import * as config from 'weir:handler/config';
import * as manifest from 'weir:handler/manifest';
import * as outbox from 'weir:handler/outbox';
import * as request from 'weir:handler/request';
import * as state from 'weir:handler/state';
import type { Event, Failure } from 'weir:handler/types';

import { decide } from './rule';

export function describe(): void {
  manifest.about('Sends a message for each new issue.');
  manifest.subscribe('github:issues');
}

// It may be async; what it awaits runs before the run ends.
export async function handle(_event: Event): Promise<void> {
  if (config.get('paused') === 'true') throw failure({ tag: 'retry', val: 'paused in [config]' });

  const decision = decide(request.text());
  if (decision.kind === 'reject') throw failure({ tag: 'reject', val: decision.reason });
  if (decision.kind === 'skip') return;

  const { repository, text, urgent } = decision;
  const count = Number(state.add(`opened/${repository}`, 1));
  console.log(`issue number ${count} of ${repository}`);

  const send = (text: string): string =>
    outbox.sendJson(config.get('destination') ?? 'inbox', JSON.stringify({ text, count }));
  send(text);
  if (urgent) send(`${repository} has an urgent issue`);
}

// A failure is thrown as it is. This only checks its type.
function failure(failure: Failure): Failure {
  return failure;
}
