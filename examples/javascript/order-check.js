// Looks at each new order of a Shopify shop, and tells why a person should look at it before it is
// sent out.
import * as config from 'weir:handler/config';
import * as manifest from 'weir:handler/manifest';
import * as outbox from 'weir:handler/outbox';
import * as request from 'weir:handler/request';
import * as state from 'weir:handler/state';

const DAY = 24 * 60 * 60;

export function describe() {
  manifest.about('Tells of orders that a person should look at before they are sent.');
  manifest.subscribe('shopify:orders/create');
}

export function handle() {
  const order = JSON.parse(request.text());
  const reasons = [];

  const limit = Number(config.get('limit') ?? 1000);
  if (Number(order.total_price) >= limit) reasons.push(`the total is ${order.total_price} ${order.currency}`);

  const [from, to] = [order.billing_address?.country_code, order.shipping_address?.country_code];
  if (from && to && from !== to) reasons.push(`it is paid in ${from} and goes to ${to}`);

  if (order.email) {
    const key = `orders/${order.email.toLowerCase()}`;
    // Some engines return a BigInt here, others a number.
    const today = Number(state.add(key, 1));
    state.expire(key, DAY);
    if (today === 4) reasons.push(`it is the fourth within a day from ${order.email}`);
  }

  if (reasons.length === 0) return;
  console.log(`order ${order.name}: ${reasons.join('; ')}`);
  outbox.sendJson(config.get('destination') ?? 'inbox', JSON.stringify({ order: order.name, reasons }));
}
