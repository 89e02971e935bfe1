import { randomBytes } from 'node:crypto'
import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createPayloads, type PayloadDeps, type Payloads } from '../src/features/payloads/payloads.ts'
import { envKeys } from '../src/platform/envelope/env-keys.ts'
import { openEnvelope } from '../src/platform/envelope.ts'
import { Secret } from '../src/platform/secret.ts'
import { createDiskStore } from '../src/platform/storage/disk-store.ts'

/** The real payload store, in a folder of its own below the one for temporary files. */
export function payloadFolder(platform: PayloadDeps['platform']): {
  readonly payloads: Payloads
  readonly folder: string
  close(): Promise<void>
} {
  const folder = mkdtempSync(join(tmpdir(), 'orchestrator-test-payloads-'))
  const store = createDiskStore({ folder })
  const current = new Secret(randomBytes(32).toString('base64'))
  const payloads = createPayloads({
    platform,
    stores: { current: 'disk', byName: new Map([['disk', store]]) },
    envelope: openEnvelope({ keys: envKeys({ current, previous: [], where: 'KEK' }) }),
    encrypt: false,
    inlineLimitBytes: 65_536,
    spoolLimitBytes: 1_048_576,
  })
  return {
    payloads,
    folder,
    close: async () => {
      store.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
