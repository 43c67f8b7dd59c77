// Reminds of pull requests that wait for a review: a message a day after one was opened, unless a
// review was submitted meanwhile.
import * as config from 'weir:handler/config';
import * as manifest from 'weir:handler/manifest';
import * as outbox from 'weir:handler/outbox';
import * as request from 'weir:handler/request';
import type { Event } from 'weir:handler/types';

import { decide } from './rule';

const DAY = 24 * 60 * 60;

export function describe(): void {
  manifest.about('Reminds of pull requests that nothing has reviewed for a day.');
  manifest.subscribe('github:pull_request');
  manifest.subscribe('github:pull_request_review');
}

export async function handle(event: Event): Promise<void> {
  const decision = decide(event.type, request.text());
  const key = `review/${decision.pullRequest}`;
  switch (decision.kind) {
    case 'remind': {
      const wait = Number(config.get('seconds') ?? DAY);
      const message = outbox.sendJson(config.get('destination') ?? 'inbox', JSON.stringify({ text: decision.text }));
      outbox.setDelay(message, wait);
      outbox.setKey(message, key);
      console.log(`a reminder of ${decision.pullRequest} in ${wait} s`);
      break;
    }
    case 'reviewed':
      // Also if the review arrives before the event of the pull request.
      outbox.cancelAhead(key, DAY);
      break;
    case 'other':
      break;
  }
}
