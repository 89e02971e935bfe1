/** What processes need to call upstreams: the guarded dial and the secrets. Wiring only. */
import type { Config } from '../config.ts'
import { createSecretResolver, openSecretStores, type ResolveSecret } from '../features/secrets/secrets.ts'
import type { WorkspaceDirectory } from '../features/workspaces/workspaces.ts'
import { createDial, type Dial } from '../platform/dial/dial.ts'
import type { Platform } from '../platform/platform.ts'

export const openDial = (config: Config, { metrics, log }: Pick<Platform, 'metrics' | 'log'>): Dial =>
  createDial({ allowCidrs: config.outboundAllowCidrs, metrics, log })

export const openSecrets = (
  config: Config,
  { db, clock }: Pick<Platform, 'db' | 'clock'>,
  directory: WorkspaceDirectory,
): ResolveSecret =>
  createSecretResolver({
    db,
    clock,
    directory,
    readRef: openSecretStores({ variables: config.secretVariables, folder: config.secretsDir }),
  })
