/** The envelope of one process: what seals and opens everything that the hub keeps encrypted. Wiring only. */
import type { Config } from '../config.ts'
import { envKeys } from '../platform/envelope/env-keys.ts'
import { fileKeys } from '../platform/envelope/file-keys.ts'
import { vaultTransitKeys } from '../platform/envelope/vault-transit-keys.ts'
import { type Envelope, type KeyEncryptionKeys, openEnvelope } from '../platform/envelope.ts'
import type { Platform } from '../platform/platform.ts'
import type { Vault } from '../platform/vault.ts'

/** What opening the keys needs of a process. */
export type EnvelopePlatform = Pick<Platform, 'clock' | 'log'>

/** `vault` is needed for `KEK_SOURCE=vault-transit` only. */
export function openKeyEncryptionKeys(
  { kek, keysDir }: Config,
  on: EnvelopePlatform,
  vault?: Vault,
): KeyEncryptionKeys {
  if (kek.source === 'env') return envKeys({ ...kek, where: 'the variable KEK' })
  if (kek.source === 'vault-transit') return vaultTransitKeys({ ...kek.transit, vault })
  return fileKeys({ folder: keysDir, ...on })
}

/** Reads nothing yet: without a key the process works, and what is sealed says why it does not open. */
export const openProcessEnvelope = (config: Config, on: EnvelopePlatform, vault?: Vault): Envelope =>
  openEnvelope({ keys: openKeyEncryptionKeys(config, on, vault) })
