/** What processes need to call upstreams: the guarded dial and the secrets. Wiring only. */
import type { Config } from '../config.ts'
import {
  checkStoredSecrets,
  createLastUsed,
  createSecretResolver,
  openSecretStores,
  type ReadRef,
  type ResolveSecret,
} from '../features/secrets/secrets.ts'
import type { WorkspaceDirectory } from '../features/workspaces/workspaces.ts'
import { createDial, type Dial } from '../platform/dial/dial.ts'
import type { Envelope } from '../platform/envelope.ts'
import type { ReadinessCheck } from '../platform/http/probes.ts'
import type { Platform } from '../platform/platform.ts'
import { openProcessEnvelope } from './envelope.ts'
import { openProcessVault } from './vault.ts'

export const openDial = (config: Config, { metrics, log }: Pick<Platform, 'metrics' | 'log'>): Dial =>
  createDial({ allowCidrs: config.outboundAllowCidrs, metrics, log })

const FETCH = { timeoutMs: 5_000, connectMs: 3_000, maxBytes: 65_536 }

/** What a server says when there is no such file. */
const NOT_THERE: ReadonlySet<number> = new Set([400, 404, 410])

/** GET of a small public file that a provider names, e.g. the certificate of its signature. Undefined when there is none. */
export const fetchOver =
  (dial: Dial) =>
  async (url: string): Promise<Buffer | undefined> => {
    const { status, body } = await dial.request({
      method: 'GET',
      url,
      headers: {},
      signal: AbortSignal.timeout(FETCH.timeoutMs),
      connectTimeoutMs: FETCH.connectMs,
      maxResponseBytes: FETCH.maxBytes,
    })
    if (NOT_THERE.has(status)) return undefined
    if (status !== 200) throw new Error(`a provider's file was answered with HTTP ${status}`)
    return body
  }

/** The secrets of one process. */
export interface ProcessSecrets {
  readonly resolve: ResolveSecret
  /** Past the memory of the resolver. */
  readonly readRef: ReadRef
  readonly envelope: Envelope
  /** For `/ready`. */
  readonly check: ReadinessCheck
  close(): Promise<void>
}

/** `/ready` may be asked by anybody and at any rate. */
const CHECK_EVERY_MS = 5_000

export function openSecrets(
  config: Config,
  platform: Pick<Platform, 'db' | 'clock' | 'log'>,
  directory: WorkspaceDirectory,
): ProcessSecrets {
  const { db, clock } = platform
  const vault = openProcessVault(config, platform)
  const envelope = openProcessEnvelope(config, platform, vault?.client)
  const lastUsed = createLastUsed(platform)
  const readRef = openSecretStores({
    db,
    envelope,
    variables: config.secretVariables,
    folder: config.secretsDir,
    vault: vault && { client: vault.client, prefix: config.vault.prefix },
  })
  let checked: { readonly at: number; readonly result: Promise<void> } | undefined
  return {
    resolve: createSecretResolver({ db, clock, directory, readRef, lastUsed }),
    readRef,
    envelope,
    check: {
      name: 'key-encryption key',
      check: () => {
        if (!checked || clock.monotonic() - checked.at >= CHECK_EVERY_MS)
          checked = { at: clock.monotonic(), result: checkStoredSecrets(db, envelope) }
        return checked.result
      },
      without: 'secrets at store:// can be neither put nor used',
    },
    close: async () => {
      await lastUsed.close()
      await vault?.close()
    },
  }
}
