// Prints requests signed by the providers' own JavaScript libraries, with the sources that they are for. Run in a folder
// whose node_modules holds them.
import { createHash, createHmac } from 'node:crypto';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const here = createRequire(process.cwd() + '/');
const load = (name) => import(pathToFileURL(here.resolve(name)).href);
const requests = [];
const now = new Date();
const seconds = Math.floor(now.getTime() / 1000);
const json = { 'content-type': 'application/json' };
const url = (provider) => `https://hooks.example.com/in/${provider}-js`;

function add(sdk, provider, secret, headers, body, { params = {}, method = 'POST', query = '', forged = null } = {}) {
  requests.push({ sdk, source: `${provider}-js`, provider, secret, params, method, query, headers, body, forged });
}

{
  // Its package names no entry that `require.resolve` finds.
  const octokit = await import(pathToFileURL(process.cwd() + '/node_modules/@octokit/webhooks-methods/dist-node/index.js').href);
  const secret = 'octokit signs with this';
  const body = JSON.stringify({ action: 'opened', text: 'grüße 🚀' });
  add('@octokit/webhooks-methods', 'github', secret, {
    ...json,
    'x-github-event': 'issues',
    'x-github-delivery': 'sdk-octokit',
    'x-hub-signature-256': await octokit.sign(secret, body),
  }, body);
}
{
  const { default: Stripe } = await load('stripe');
  const secret = "whsec_a stripe endpoint's secret";
  const body = JSON.stringify({ id: 'evt_sdk_node', object: 'event', type: 'invoice.paid' });
  const header = new Stripe('sk_test_unused').webhooks.generateTestHeaderString({ payload: body, secret });
  add('stripe (npm)', 'stripe', secret, { ...json, 'stripe-signature': header }, body);
}
{
  const { Webhook } = await load('standardwebhooks');
  const secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
  const body = JSON.stringify({ type: 'user.created', data: { id: 1 } });
  add('standardwebhooks (npm)', 'standard-webhooks', secret, {
    ...json,
    'webhook-id': 'msg_sdk_node',
    'webhook-timestamp': String(seconds),
    'webhook-signature': new Webhook(secret).sign('msg_sdk_node', now, body),
  }, body);
}
{
  const { default: twilio } = await load('twilio');
  const secret = 'a twilio auth token';
  const fields = { CallSid: 'CA1', CallStatus: 'completed', From: '+14158675309' };
  const body = new URLSearchParams(fields).toString();
  add('twilio (npm)', 'twilio', secret, {
    'content-type': 'application/x-www-form-urlencoded',
    'x-twilio-signature': twilio.getExpectedTwilioSignature(secret, url('twilio'), fields),
  }, body);
  // By GET, the same fields stand in the URL, and there are none besides.
  const signature = twilio.getExpectedTwilioSignature(secret, `${url('twilio')}?${body}`, {});
  add('twilio (npm), GET', 'twilio', secret, { 'x-twilio-signature': signature }, '', {
    method: 'GET', query: body, forged: { query: body.replace('completed', 'failed') },
  });
}
{
  const { encodeSignatureHeader } = await load('@sanity/webhook');
  const secret = 'a sanity secret';
  const body = JSON.stringify({ _id: 'resume', _type: 'page' });
  const header = await encodeSignatureHeader(body, now.getTime(), secret);
  add('@sanity/webhook', 'sanity', secret, { ...json, 'sanity-webhook-signature': header, 'idempotency-key': 'sdk' }, body);
}
{
  const { signRequest } = await load('@contentful/node-apps-toolkit');
  const secret = 'contentful'.padEnd(64, '0');
  const body = JSON.stringify({ sys: { type: 'Entry', id: '1' } });
  const headers = { 'x-contentful-topic': 'ContentManagement.Entry.publish' };
  const path = new URL(url('contentful')).pathname;
  const signed = signRequest(secret, { method: 'POST', path, headers, body }, now.getTime());
  add('@contentful/node-apps-toolkit', 'contentful', secret, { ...json, ...headers, ...signed }, body);
}
{
  const { WorkOS } = await load('@workos-inc/node');
  const secret = 'a workos secret';
  const payload = { id: 'event_sdk', event: 'user.created', data: {} };
  const timestamp = String(now.getTime());
  const body = JSON.stringify(payload);
  const webhooks = new WorkOS('sk_unused').webhooks;
  const signature = await webhooks.computeSignature(timestamp, payload, secret);
  add('@workos-inc/node', 'workos', secret, { ...json, 'workos-signature': `t=${timestamp}, v1=${signature}` }, body);
}
{
  const { signWebhookPayload } = await load('@notionhq/client');
  const secret = 'secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce98V0pYn7yBl';
  const body = JSON.stringify({ id: 'sdk-notion', type: 'page.created' });
  const signature = await signWebhookPayload({ body, verificationToken: secret });
  add('@notionhq/client', 'notion', secret, { ...json, 'x-notion-signature': signature }, body);
}
{
  const { AccessToken } = await load('livekit-server-sdk');
  const [key, secret] = ['APIkey', 'a livekit secret of some length'];
  const body = JSON.stringify({ id: 'EV_sdk', event: 'room_started', room: { name: 'river' } });
  const token = new AccessToken(key, secret);
  token.sha256 = createHash('sha256').update(body).digest('base64');
  add('livekit-server-sdk', 'livekit', secret, {
    'content-type': 'application/webhook+json',
    authorization: await token.toJwt(),
  }, body, { params: { api_key: key } });
}
{
  // The token signs the method, the path and the query, and nothing of the body.
  const { default: jwt } = await load('@atlassian/atlassian-jwt');
  const [key, secret] = ['an installation', 'a shared secret of one installation'];
  const token = (iss) => {
    const request = jwt.fromMethodAndUrl('POST', url('jira'));
    const claims = { iss, iat: seconds, exp: seconds + 180, qsh: jwt.createQueryStringHash(request, false, '') };
    return `JWT ${jwt.encodeSymmetric(claims, secret)}`;
  };
  const body = JSON.stringify({ webhookEvent: 'jira:issue_created', issue: { key: 'RIV-1' } });
  const headers = { ...json, 'x-atlassian-webhook-identifier': 'sdk-atlassian', authorization: token(key) };
  add('@atlassian/atlassian-jwt', 'jira', secret, headers, body, {
    params: { client_key: key }, forged: { headers: { authorization: token('another installation') } },
  });
}
{
  // It only verifies: it has to agree before this is printed.
  await load('@shopify/shopify-api/adapters/node');
  const { shopifyApi } = await load('@shopify/shopify-api');
  const secret = 'a shopify client secret';
  const shopify = shopifyApi({
    apiKey: 'unused', apiSecretKey: secret, hostName: 'hooks.example.com', apiVersion: '2025-07', isEmbeddedApp: false,
    logger: { level: 0 },
  });
  const body = JSON.stringify({ id: 820982911946154500, email: 'jon@example.com' });
  const headers = {
    ...json,
    'x-shopify-topic': 'orders/create',
    'x-shopify-api-version': '2025-07',
    'x-shopify-shop-domain': 'river.myshopify.com',
    'x-shopify-webhook-id': 'sdk-shopify',
    'x-shopify-hmac-sha256': createHmac('sha256', secret).update(body).digest('base64'),
  };
  const rawRequest = { method: 'POST', url: '/in/shopify-js', headers };
  const checked = await shopify.webhooks.validate({ rawBody: body, rawRequest, rawResponse: {} });
  if (!checked.valid) throw new Error(`@shopify/shopify-api: ${JSON.stringify(checked)}`);
  add('@shopify/shopify-api', 'shopify', secret, headers, body);
}
console.log(JSON.stringify(requests));
