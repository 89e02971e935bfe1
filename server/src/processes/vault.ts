/** The Vault that the configuration names. Wiring only. */
import { readFile } from 'node:fs/promises'
import type { Config } from '../config.ts'
import { createDial } from '../platform/dial/dial.ts'
import { createMetrics } from '../platform/metrics.ts'
import type { Platform } from '../platform/platform.ts'
import { Secret } from '../platform/secret.ts'
import { createVault, type Vault, VaultFailure, type VaultLogin } from '../platform/vault.ts'

/** The operator names the address, and it is often a private one; cloud metadata stays forbidden. */
const ANY_NETWORK = ['0.0.0.0/0', '::/0']

/** Undefined when no Vault is configured. Nothing is dialled yet. */
export function openProcessVault(
  { vault: { address, namespace, ...settings } }: Config,
  { clock, log }: Pick<Platform, 'clock' | 'log'>,
): { readonly client: Vault; close(): Promise<void> } | undefined {
  if (address === undefined) return undefined
  // A dial of its own: what may be reached for Vault must not be open to connectors.
  const dial = createDial({ allowCidrs: ANY_NETWORK, metrics: createMetrics('vault', false), log })
  const client = createVault({ address, namespace, login: loginOf(settings), dial, clock, log })
  return {
    client,
    close: async () => {
      client.close()
      await dial.close()
    },
  }
}

function loginOf(of: Omit<Config['vault'], 'address' | 'namespace'>): VaultLogin {
  const { roleId } = of
  return roleId === undefined
    ? { method: 'token', token: () => given(of.token, of.tokenFile, 'VAULT_TOKEN') }
    : { method: 'approle', roleId, secretId: () => given(of.secretId, of.secretIdFile, 'VAULT_SECRET_ID') }
}

/** A file is read at every login: whoever renews it needs no restart of the hub. */
async function given(value: Secret | undefined, file: string | undefined, name: string): Promise<Secret> {
  if (value) return value
  if (file === undefined) throw new VaultFailure(`neither ${name} nor ${name}_FILE is set`, false)
  try {
    return new Secret((await readFile(file, 'utf8')).trim())
  } catch (error) {
    throw new VaultFailure(`the file of ${name}_FILE cannot be read`, true, { cause: error })
  }
}
