import type { Db } from '../../platform/db/db.ts'
import type { Envelope } from '../../platform/envelope.ts'
import type { Platform } from '../../platform/platform.ts'
import type { ObjectStore } from '../../platform/storage/object-store.ts'

/** The stores that this process can reach, and the one that gets what is new. */
export interface PayloadStores {
  readonly current: ObjectStore['name']
  readonly byName: ReadonlyMap<ObjectStore['name'], ObjectStore>
}

export interface PayloadDeps {
  readonly platform: Pick<Platform, 'db' | 'clock' | 'log' | 'metrics'>
  /** For what is read at the wish of a caller; absent: with `platform.db`. */
  readonly readDb?: Db
  readonly stores: PayloadStores
  /** Encrypts what is new when `encrypt` is on; what is encrypted needs it to be read, whatever the setting is now. */
  readonly envelope: Envelope
  readonly encrypt: boolean
  /** Bodies of up to so many bytes stay where they are. */
  readonly inlineLimitBytes: number
  /** Of all spooled bodies of the hub together. */
  readonly spoolLimitBytes: number
}
