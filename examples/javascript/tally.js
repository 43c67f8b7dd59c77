// Counts events by type, and sends each count to a destination.
import * as config from 'weir:handler/config@0.1.0';
import * as log from 'weir:handler/log@0.1.0';
import * as manifest from 'weir:handler/manifest@0.1.0';
import * as outbox from 'weir:handler/outbox@0.1.0';
import * as state from 'weir:handler/state@0.1.0';

export function describe() {
  manifest.about('Counts events by their type.');
  manifest.subscribe('*:*');
}

export function handle(event) {
  const type = `${event.source}:${event.type}`;
  // Some engines return a BigInt here, others a number.
  const count = Number(state.add(type, 1));
  log.info(`${type} number ${count}`);
  outbox.sendJson(config.get('destination') ?? 'inbox', JSON.stringify({ type, count }));
}
