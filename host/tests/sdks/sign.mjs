// Prints requests signed by the providers' own JavaScript libraries. Run in a folder whose node_modules holds them.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const here = createRequire(process.cwd() + '/');
const load = (name) => import(pathToFileURL(here.resolve(name)).href);
const secrets = JSON.parse(process.env.SECRETS);
const requests = [];

{
  // Its package names no entry that `require.resolve` finds.
  const octokit = await import(pathToFileURL(process.cwd() + '/node_modules/@octokit/webhooks-methods/dist-node/index.js').href);
  const body = JSON.stringify({ action: 'opened', text: 'grüße 🚀' });
  requests.push({
    sdk: '@octokit/webhooks-methods',
    source: 'github',
    headers: {
      'content-type': 'application/json',
      'x-github-event': 'issues',
      'x-github-delivery': 'sdk-octokit',
      'x-hub-signature-256': await octokit.sign(secrets.github, body),
    },
    body,
  });
}
{
  const { default: Stripe } = await load('stripe');
  const body = JSON.stringify({ id: 'evt_sdk_node', object: 'event', type: 'invoice.paid' });
  const header = new Stripe('sk_test_unused').webhooks.generateTestHeaderString({ payload: body, secret: secrets.stripe });
  requests.push({
    sdk: 'stripe (npm)',
    source: 'stripe',
    headers: { 'content-type': 'application/json', 'stripe-signature': header },
    body,
  });
}
{
  const { Webhook } = await load('standardwebhooks');
  const body = JSON.stringify({ type: 'user.created', data: { id: 1 } });
  const [id, now] = ['msg_sdk_node', new Date()];
  requests.push({
    sdk: 'standardwebhooks (npm)',
    source: 'standard',
    headers: {
      'content-type': 'application/json',
      'webhook-id': id,
      'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
      'webhook-signature': new Webhook(secrets.standard).sign(id, now, body),
    },
    body,
  });
}
console.log(JSON.stringify(requests));
