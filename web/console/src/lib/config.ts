/** The settings that the data plane writes into the page. */

export interface OidcConfig {
  issuer: string;
  clientId: string;
}

export interface Config {
  version: string | null;
  /** Origin of the CDN, where one serves the videos. */
  cdn: string | null;
  oidc: OidcConfig | null;
}

function read(): Config {
  const none: Config = { version: null, cdn: null, oidc: null };
  const text = typeof document === 'undefined' ? null : document.getElementById('config')?.textContent;
  if (!text) return none;
  try {
    return { ...none, ...(JSON.parse(text) as Partial<Config>) };
  } catch {
    return none;
  }
}

export const config: Config = read();
