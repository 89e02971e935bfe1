import { member, VaultFailure } from '../../../platform/vault.ts'
import { type Found, type SecretStore, secretFrom, type Unresolved, type VaultOptions } from './store.ts'

/**
 * HashiCorp Vault or OpenBao, the KV engine version 2: `vault://mount/path#field` of a workspace is the field of the
 * secret `<prefix>/<slug>/path` in that mount. The workspace is part of the path: no ref reaches another one's.
 */
export const vaultStore: SecretStore = {
  scheme: 'vault',
  addressRule: 'vault://mount/path#field with letters, digits, dots, hyphens and underscores',
  addressPattern:
    /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}(\/[A-Za-z0-9][A-Za-z0-9._-]{0,99}){1,8}#[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/,
  open:
    ({ vault }) =>
    async ({ slug }, address) => {
      // Not away: it will not come back, and whoever names a store that this hub has not must not pass for an outage.
      if (!vault) return { why: 'this process knows no Vault: VAULT_ADDR is not set' }
      try {
        return await read(vault, slug, address)
      } catch (error) {
        if (error instanceof VaultFailure) return { why: error.message, away: true }
        throw error
      }
    },
}

async function read(
  { client, prefix }: VaultOptions,
  slug: string,
  address: string,
): Promise<Found | Unresolved> {
  const [path = '', field = ''] = address.split('#')
  const at = path.indexOf('/')
  const place = [path.slice(0, at), 'data', ...(prefix === '' ? [] : [prefix]), slug, path.slice(at + 1)]
  const { status, body } = await client.request('GET', place.join('/'))
  if (status === 404) return { why: 'there is no such secret in Vault below the path of this workspace' }
  if (status !== 200) return { why: `Vault answered with HTTP ${status}`, away: true }
  const values = member(member(body, 'data'), 'data')
  const value = Object.hasOwn(values, field) ? values[field] : undefined
  if (value === undefined) return { why: 'there is no such field in the secret of Vault' }
  return typeof value === 'string'
    ? secretFrom(Buffer.from(value))
    : { why: 'the field in Vault is not a text' }
}
