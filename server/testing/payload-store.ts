import { mkdirSync, mkdtempSync } from 'node:fs'
import { rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  createPayloadRounds,
  createPayloads,
  type PayloadCare,
  type PayloadDeps,
  type PayloadStores,
  type Payloads,
} from '../src/features/payloads/payloads.ts'
import { createMetrics } from '../src/platform/metrics.ts'
import type { Platform } from '../src/platform/platform.ts'
import { createDiskStore } from '../src/platform/storage/disk-store.ts'
import { testEnvelope } from './secret-stores.ts'

export interface TestPayloads {
  readonly payloads: Payloads
  readonly stores: PayloadStores
  readonly care: PayloadCare
  /** Where the objects are. */
  readonly folder: string
  /** Other settings, on the same database and objects: another process. */
  with(options: Partial<PayloadDeps>): Payloads
  /** As a disk does that is not mounted. */
  goAway(): Promise<void>
  comeBack(): Promise<void>
  remove(): Promise<void>
}

/** Payloads on a real folder of their own; bodies beyond 1,000 bytes go there. */
export function testPayloads(platform: Platform, options: Partial<PayloadDeps> = {}): TestPayloads {
  const home = mkdtempSync(join(tmpdir(), 'orchestrator-test-payloads-'))
  const [mount, away] = [join(home, 'mount'), join(home, 'away')]
  mkdirSync(mount)
  const folder = join(mount, 'objects')
  const disk = createDiskStore({ folder })
  const stores: PayloadStores = { current: 'disk', byName: new Map([['disk', disk]]) }
  const envelope = testEnvelope()
  const deps = (): PayloadDeps => ({
    // Its own: one process has one of each metric.
    platform: { ...platform, metrics: createMetrics('test', false) },
    ...{ stores, envelope, encrypt: false },
    ...{ inlineLimitBytes: 1_000, spoolLimitBytes: 1_000_000 },
    ...options,
  })
  return {
    payloads: createPayloads(deps()),
    stores,
    care: createPayloadRounds(
      { ...platform, metrics: createMetrics('test', false) },
      options.stores ?? stores,
    ),
    folder,
    with: (other) => createPayloads({ ...deps(), ...other }),
    goAway: async () => {
      await rename(mount, away)
      await writeFile(mount, '')
    },
    comeBack: async () => {
      await rm(mount)
      await rename(away, mount)
    },
    remove: () => rm(home, { recursive: true, force: true }),
  }
}
