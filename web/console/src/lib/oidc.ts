/**
 * OpenID Connect: authorization code flow with PKCE (RFC 7636) as a public client. Loaded only when a person uses it.
 *
 * The verifier, state and nonce of a running sign-in live in sessionStorage until the provider sends the browser back.
 */
import * as oauth from 'oauth4webapi';
import { resolve } from '$app/paths';
import type { OidcConfig } from './config';

const KEY = 'streaming-console.sign-in';

interface Attempt {
  verifier: string;
  state: string;
  nonce: string;
  /** Path within the console to return to. */
  back: string;
}

/** The tokens that the service may accept, the preferred one first, and where to go on. */
export interface Grant {
  tokens: string[];
  back: string;
}

function redirectUri(): string {
  return new URL(resolve('/callback'), location.href).href;
}

/** Providers on this machine may use http; the service itself decides which issuer it trusts. */
function transport(issuer: string): { [oauth.allowInsecureRequests]?: boolean } {
  return issuer.startsWith('http:') ? { [oauth.allowInsecureRequests]: true } : {};
}

async function discover(config: OidcConfig): Promise<oauth.AuthorizationServer> {
  // The issuer's name is compared exactly, so a trailing slash matters.
  const issuer = new URL(config.issuer);
  const response = await oauth.discoveryRequest(issuer, { algorithm: 'oidc', ...transport(config.issuer) });
  return oauth.processDiscoveryResponse(issuer, response);
}

/** Sends the browser to the provider's sign-in page. */
export async function begin(config: OidcConfig, back: string): Promise<void> {
  const server = await discover(config);
  if (!server.authorization_endpoint) throw new Error('the provider has no authorization endpoint');
  const attempt: Attempt = {
    verifier: oauth.generateRandomCodeVerifier(),
    state: oauth.generateRandomState(),
    nonce: oauth.generateRandomNonce(),
    back
  };
  sessionStorage.setItem(KEY, JSON.stringify(attempt));
  const target = new URL(server.authorization_endpoint);
  const parameters = {
    response_type: 'code',
    client_id: config.clientId,
    redirect_uri: redirectUri(),
    scope: 'openid',
    code_challenge: await oauth.calculatePKCECodeChallenge(attempt.verifier),
    code_challenge_method: 'S256',
    state: attempt.state,
    nonce: attempt.nonce
  };
  for (const [name, value] of Object.entries(parameters)) target.searchParams.set(name, value);
  location.assign(target.href);
}

/** Exchanges the code that the provider sent with `callback`, the page's address. */
export async function finish(config: OidcConfig, callback: URL): Promise<Grant> {
  const attempt = JSON.parse(sessionStorage.getItem(KEY) ?? 'null') as Attempt | null;
  sessionStorage.removeItem(KEY);
  if (!attempt) throw new Error('no sign-in is in progress in this tab');
  const server = await discover(config);
  const client: oauth.Client = { client_id: config.clientId };
  const answer = oauth.validateAuthResponse(server, client, callback, attempt.state);
  const response = await oauth.authorizationCodeGrantRequest(
    server, client, oauth.None(), answer, redirectUri(), attempt.verifier, transport(config.issuer)
  );
  const result = await oauth.processAuthorizationCodeResponse(server, client, response, {
    expectedNonce: attempt.nonce,
    requireIdToken: true
  });
  // An access token may be opaque; the service accepts only JWTs.
  const tokens = [result.access_token, result.id_token].filter((token) => token?.split('.').length === 3);
  return { tokens: tokens as string[], back: attempt.back };
}
