/** Sign-on with an identity provider, as the settings say. Wiring only. */
import { readFileSync } from 'node:fs'
import type { Config } from '../config.ts'
import { createOidcProvider, type OidcProvider, parseGroupRoles } from '../features/operators/operators.ts'
import type { Dial } from '../platform/dial/dial.ts'
import type { Platform } from '../platform/platform.ts'
import { Secret } from '../platform/secret.ts'
import { StartRefused } from '../platform/start-refused.ts'

/** Undefined when none is set. Asks the provider nothing yet: it may be down while the hub starts. */
export function openIdentityProvider(
  { oidc }: Config,
  { clock, log }: Pick<Platform, 'clock' | 'log'>,
  dial: Pick<Dial, 'request'>,
): OidcProvider | undefined {
  if (!oidc) return undefined
  const groupRoles = parseGroupRoles(oidc.groupRoles)
  if (typeof groupRoles === 'string') throw new StartRefused(`OIDC_GROUP_ROLES ${groupRoles}.`)
  const { clientSecret, clientSecretFile, ...settings } = oidc
  const secret = clientSecretFile === undefined ? clientSecret : fromFile(clientSecretFile)
  return createOidcProvider({
    settings: { ...settings, clientSecret: secret, groupRoles },
    dial,
    clock,
    log,
  })
}

function fromFile(path: string): Secret {
  const text = readFileSync(path, 'utf8').trim()
  if (text === '') throw new StartRefused('The file at OIDC_CLIENT_SECRET_FILE is empty.')
  return new Secret(text)
}
