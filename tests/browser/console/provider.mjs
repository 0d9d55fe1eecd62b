// Sign-in through an OpenID Connect provider on this machine: authorization code flow with PKCE. The provider checks what a
// real one checks: the redirect URI, the verifier, and that a code is used once. The service starts after the provider; ORDER
// is empty, and the answer to `start` has the service's address.
import assert from 'node:assert/strict';
import { createHash, createSign, generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { Console, ask, eventually, order, rest, run } from './harness.mjs';

const CLIENT = 'streaming-console';
const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const codes = new Map();
const seen = [];
let answer = 'allow';
let issuer;

const base64 = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
function sign(claims) {
  const text = `${base64({ alg: 'RS256', kid: 'one', typ: 'JWT' })}.${base64(claims)}`;
  return `${text}.${createSign('RSA-SHA256').update(text).sign(privateKey).toString('base64url')}`;
}

function token(parameters) {
  const granted = codes.get(parameters.get('code'));
  codes.delete(parameters.get('code'));
  const verifier = createHash('sha256').update(parameters.get('code_verifier') ?? '').digest('base64url');
  const right =
    granted && granted.get('code_challenge') === verifier && granted.get('redirect_uri') === parameters.get('redirect_uri');
  if (!right) return [400, { error: 'invalid_grant' }];
  const now = Math.floor(Date.now() / 1000);
  const common = { iss: issuer, sub: 'ana', iat: now, exp: now + 600 };
  const access = sign({ ...common, aud: 'streaming', role: 'editor', tenant: 'default' });
  const id = sign({ ...common, aud: CLIENT, nonce: granted.get('nonce') });
  return [200, { access_token: access, id_token: id, token_type: 'Bearer', expires_in: 600 }];
}

function authorize(query, reply) {
  assert.equal(query.get('response_type'), 'code');
  assert.equal(query.get('code_challenge_method'), 'S256');
  assert.equal(query.get('client_id'), CLIENT);
  const target = new URL(query.get('redirect_uri'));
  assert.equal(target.pathname, '/console/callback');
  target.searchParams.set('state', query.get('state'));
  target.searchParams.set('iss', issuer);
  if (answer === 'deny') {
    target.searchParams.set('error', 'access_denied');
  } else {
    const code = randomUUID();
    codes.set(code, query);
    target.searchParams.set('code', code);
  }
  reply.writeHead(302, { location: target.href }).end();
}

const server = createServer(async (request, reply) => {
  const url = new URL(request.url, issuer);
  seen.push(url.pathname);
  const json = (status, body) => {
    reply.writeHead(status, { 'content-type': 'application/json', 'access-control-allow-origin': '*' });
    reply.end(JSON.stringify(body));
  };
  if (url.pathname === '/.well-known/openid-configuration') {
    return json(200, {
      issuer, authorization_endpoint: `${issuer}/authorize`, token_endpoint: `${issuer}/token`, jwks_uri: `${issuer}/jwks`,
      response_types_supported: ['code'], subject_types_supported: ['public'], id_token_signing_alg_values_supported: ['RS256'],
      authorization_response_iss_parameter_supported: true
    });
  }
  if (url.pathname === '/jwks') return json(200, { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'one', use: 'sig', alg: 'RS256' }] });
  if (url.pathname === '/authorize') return authorize(url.searchParams, reply);
  if (url.pathname === '/token') {
    let body = '';
    for await (const piece of request) body += piece;
    return json(...token(new URLSearchParams(body)));
  }
  return json(404, {});
});
await new Promise((done) => server.listen(0, '127.0.0.1', done));
issuer = `http://127.0.0.1:${server.address().port}`;

/** A tab that may also talk to the provider. */
async function open() {
  const tab = await Console.open();
  tab.allowed = (url) => url.startsWith(issuer);
  return tab;
}

async function theProviderSignsInAndThePersonReturnsToTheirScreen() {
  Object.assign(order, await ask('start', { issuer, client: CLIENT }));
  const tab = await open();
  await tab.page.goto(`${order.origin}/console/videos`);
  await tab.page.getByRole('button', { name: 'Continue with your identity provider' }).click();
  await tab.page.getByRole('heading', { name: 'Videos', level: 1 }).waitFor();
  assert.equal(new URL(tab.page.url()).pathname, '/console/videos');
  assert.equal(new URL(tab.page.url()).search, '');
  await tab.page.getByText('ana', { exact: true }).waitFor();
  assert.deepEqual((await tab.page.locator('nav a').allInnerTexts()).map((name) => name.trim()), ['Upload', 'Videos', 'Jobs', 'Workers']);
  const stored = await tab.page.evaluate(() => JSON.stringify(sessionStorage));
  assert.equal(stored.includes('code_verifier') || stored.includes('nonce'), false, 'nothing of the flow stays');
  const { token: session } = JSON.parse(JSON.parse(stored)['streaming-console.session']);
  await tab.page.getByRole('button', { name: 'Sign out' }).click();
  await eventually('the session is revoked', async () => (await rest('GET', '/api/me', undefined, session)).status === 401, 10);
  await tab.assertClean();
  await tab.close();
}

async function aRefusalOfTheProviderIsExplained() {
  answer = 'deny';
  const tab = await open();
  await tab.page.goto(`${order.origin}/console/`);
  await tab.page.getByRole('button', { name: 'Continue with your identity provider' }).click();
  await tab.page.getByText('The identity provider did not sign you in').waitFor();
  assert.equal(new URL(tab.page.url()).search, '', 'the answer does not stay in the address');
  assert.deepEqual(await tab.axe(), []);
  answer = 'allow';
  await tab.close();
}

async function anAnswerThatThisTabDidNotAskForIsRejected() {
  const tab = await open();
  const tokens = seen.filter((path) => path === '/token').length;
  await tab.page.goto(`${order.origin}/console/callback?code=stolen&state=other&iss=${encodeURIComponent(issuer)}`);
  await tab.page.getByText('The identity provider did not sign you in').waitFor();
  assert.equal(seen.filter((path) => path === '/token').length, tokens, 'the code is not redeemed');
  await tab.close();
  server.close();
}

await run(
  theProviderSignsInAndThePersonReturnsToTheirScreen,
  aRefusalOfTheProviderIsExplained,
  anAnswerThatThisTabDidNotAskForIsRejected
);
