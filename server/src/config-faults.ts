/** What is wrong with settings that the schema cannot say. No value is repeated. */
import { payloadFaults } from './config-payloads.ts'
import { ConfigSchema } from './config-schema.ts'
import { oidcFaults } from './config-sign-on.ts'
import { isExampleKey, keyBytesOf } from './platform/envelope/local-key.ts'
import { isAddressOrNetwork, isNetwork, splitList } from './platform/networks.ts'
import { parseRedisUrls } from './platform/redis/redis-url.ts'

/** The word that closes all private networks where their absence would open some. */
export const NO_NETWORK = 'none'

/** What the schema cannot say, each a line that names the variable. Values of a wrong type have a fault already and are left out. */
export function furtherFaults(settings: Readonly<Record<string, unknown>>): string[] {
  const faults: string[] = []
  const text = (name: string): string => (typeof settings[name] === 'string' ? settings[name] : '')
  for (const name of ['DATABASE_URL', 'DATABASE_OWNER_URL'])
    if (text(name) !== '' && !URL.canParse(text(name)))
      faults.push(`${name} must be a URL: special characters of the password are percent-encoded`)
  if (text('DATABASE_OWNER_URL') !== '' && text('DATABASE_URL') === '')
    faults.push('DATABASE_OWNER_URL needs DATABASE_URL, with which the processes do their work')
  try {
    if (text('REDIS_URL') !== '') parseRedisUrls(text('REDIS_URL'))
  } catch (error) {
    faults.push(`REDIS_URL ${(error as Error).message}`)
  }
  if (text('REDIS_URL') !== '' && text('LIMITS') === 'per-node')
    faults.push('LIMITS=per-node makes no use of REDIS_URL: take one of the two away')
  for (const [name, fits] of [
    ['OUTBOUND_ALLOW_CIDRS', (network: string) => network === NO_NETWORK || isNetwork(network)],
    ['TRUSTED_PROXIES', isAddressOrNetwork],
    ['BREAK_GLASS_ALLOW_CIDRS', isNetwork],
  ] as const)
    if (splitList(text(name)).some((network) => !fits(network)))
      faults.push(
        `${name} holds something that is not a network, e.g. 10.1.0.0/16; several are separated by commas`,
      )
  if ((text('TLS_CERT_FILE') === '') !== (text('TLS_KEY_FILE') === ''))
    faults.push('TLS_CERT_FILE and TLS_KEY_FILE belong together: set both or none')
  if (text('TLS_CLIENT_CA_FILE') !== '' && text('TLS_CERT_FILE') === '')
    faults.push('TLS_CLIENT_CA_FILE needs TLS_CERT_FILE: client certificates are shown over TLS only')
  if (text('ORCHESTRATOR_ENV') === 'prod' && text('FAIL_POINTS') !== '')
    faults.push('FAIL_POINTS is for tests of crashes and refused in prod')
  faults.push(...oidcFaults(text), ...payloadFaults(text))
  faults.push(...kekFaults(settings, text), ...vaultFaults((name) => text(name) !== '', settings))
  if (text('ORCHESTRATOR_ENV') === 'prod' && settings.DEV_IMPERSONATION_HEADERS === true)
    faults.push('DEV_IMPERSONATION_HEADERS is for development and refused in prod')
  if (
    text('ORCHESTRATOR_ENV') === 'prod' &&
    settings.BREAK_GLASS_PORT !== undefined &&
    text('BREAK_GLASS_ALERT_URL') === ''
  )
    faults.push(
      'BREAK_GLASS_PORT needs BREAK_GLASS_ALERT_URL in prod: nobody opens an emergency session that no alert tells of',
    )
  const ports = Object.keys(ConfigSchema.properties)
    .filter((name) => name.endsWith('_PORT'))
    .map((name) => [name, settings[name]] as const)
  for (const [at, [name, port]] of ports.entries()) {
    const other = ports.slice(0, at).find(([, taken]) => taken === port)
    if (other) faults.push(`${name} is the same as ${other[0]} (${port})`)
  }
  return faults
}

/** Half a login, and a Vault that is needed and not there. */
function vaultFaults(has: (name: string) => boolean, settings: Readonly<Record<string, unknown>>): string[] {
  const faults: string[] = []
  const logins = ['VAULT_TOKEN', 'VAULT_TOKEN_FILE', 'VAULT_ROLE_ID'].filter(has)
  if (has('VAULT_ADDR') && logins.length !== 1)
    faults.push('VAULT_ADDR needs exactly one of VAULT_TOKEN, VAULT_TOKEN_FILE and VAULT_ROLE_ID')
  if (has('VAULT_ROLE_ID') && has('VAULT_SECRET_ID') === has('VAULT_SECRET_ID_FILE'))
    faults.push('VAULT_ROLE_ID needs exactly one of VAULT_SECRET_ID and VAULT_SECRET_ID_FILE')
  if (settings.KEK_SOURCE === 'vault-transit' && !has('VAULT_ADDR'))
    faults.push('KEK_SOURCE=vault-transit needs VAULT_ADDR')
  return faults
}

/** A key that does nothing, and one that anybody could have typed. */
function kekFaults(
  settings: Readonly<Record<string, unknown>>,
  text: (name: string) => string,
): readonly string[] {
  const faults: string[] = []
  for (const name of ['KEK', 'KEK_PREVIOUS']) {
    const keys = splitList(text(name))
    if (keys.length > 0 && settings.KEK_SOURCE !== 'env')
      faults.push(`${name} is set but not used: set KEK_SOURCE=env, or take it away`)
    const isExample = (key: string) => isExampleKey(keyBytesOf(key) ?? Buffer.alloc(0))
    if (settings.ORCHESTRATOR_ENV === 'prod' && keys.some(isExample))
      faults.push(`${name} is an example, not a random key: make one with \`openssl rand -base64 32\``)
  }
  return faults
}
