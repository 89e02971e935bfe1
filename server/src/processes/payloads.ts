/** The payload store of one process, as the configuration names it. Wiring, and the rule of who may keep files alone. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { Config } from '../config.ts'
import { createPayloads, hasKept, type PayloadStores, type Payloads } from '../features/payloads/payloads.ts'
import type { Db } from '../platform/db/db.ts'
import type { Envelope } from '../platform/envelope.ts'
import type { ReadinessCheck } from '../platform/http/probes.ts'
import type { Platform } from '../platform/platform.ts'
import { Secret } from '../platform/secret.ts'
import { StartRefused } from '../platform/start-refused.ts'
import { createDiskStore } from '../platform/storage/disk-store.ts'
import type { ObjectStore } from '../platform/storage/object-store.ts'
import { createS3Store } from '../platform/storage/s3-store.ts'

export interface ProcessPayloads {
  readonly payloads: Payloads
  readonly stores: PayloadStores
  /** For `/ready`. */
  readonly check: ReadinessCheck
  close(): void
}

/** `/ready` may be asked by anybody and at any rate; it waits for a second at most. */
const CHECK_EVERY_MS = 5_000
const CHECK_TIMEOUT_MS = 900

export function openPayloads(
  { payloads: config }: Pick<Config, 'payloads'>,
  platform: Pick<Platform, 'db' | 'clock' | 'log' | 'metrics'>,
  envelope: Envelope,
  /** Of a plane: what its callers read, they read as requests of their workspace. */
  readDb?: Db,
): ProcessPayloads {
  const byName = new Map<ObjectStore['name'], ObjectStore>()
  // What was kept before the store was changed is still read, where it can be.
  if (config.store === 'disk' || existsSync(config.folder))
    byName.set(
      'disk',
      createDiskStore({
        folder: config.folder,
        mayBegin: async () => !(await hasKept(platform.db, 'disk')),
      }),
    )
  if (config.s3) byName.set('s3', openS3(config.s3))
  const stores: PayloadStores = { current: config.store, byName }
  const current = byName.get(config.store)
  if (!current) throw new Error(`there are no settings of the payload store ${config.store}`)
  let checked: { readonly at: number; readonly result: Promise<void> } | undefined
  const { clock } = platform
  return {
    payloads: createPayloads({ ...config, platform, stores, envelope, ...(readDb && { readDb }) }),
    stores,
    check: {
      name: `payload store (${current.name})`,
      check: () => {
        if (!checked || clock.monotonic() - checked.at >= CHECK_EVERY_MS)
          checked = { at: clock.monotonic(), result: current.check({ timeoutMs: CHECK_TIMEOUT_MS }) }
        return checked.result
      },
      without: 'large bodies wait in the database while it has room for them, and kept ones cannot be read',
    },
    close: () => {
      for (const store of byName.values()) store.close()
    },
  }
}

const openS3 = (s3: NonNullable<Config['payloads']['s3']>): ObjectStore =>
  createS3Store({
    ...{ endpoint: s3.endpoint, region: s3.region, bucket: s3.bucket },
    credentials: async () => ({
      accessKeyId: s3.accessKeyId,
      secretAccessKey: s3.secretAccessKey ?? (await secretIn(s3.secretAccessKeyFile ?? '')),
    }),
  })

const secretIn = async (file: string): Promise<Secret> => new Secret((await readFile(file, 'utf8')).trim())

/** Throws StartRefused for a process of its own that would keep files where perhaps no other looks. */
export function requirePayloadsShared({
  payloads: { store, folderIsChosen },
}: Pick<Config, 'payloads'>): void {
  if (store === 'disk' && !folderIsChosen)
    throw new StartRefused(
      'Processes that are started one by one need a payload store that all of them see: set PAYLOAD_STORE=s3 with the S3 settings, or PAYLOAD_DIR to a folder that they share. Only `start all` takes the one in DATA_DIR by itself.',
    )
}
