import { randomBytes } from 'node:crypto'
import { openSecretStores, type ReadRef, type StoreOptions } from '../src/features/secrets/secrets.ts'
import { envKeys } from '../src/platform/envelope/env-keys.ts'
import { type Envelope, openEnvelope } from '../src/platform/envelope.ts'
import { Secret } from '../src/platform/secret.ts'

/** An envelope with a key of its own. */
export const testEnvelope = (): Envelope =>
  openEnvelope({
    keys: envKeys({
      current: new Secret(randomBytes(32).toString('base64')),
      previous: [],
      where: 'the key of the test',
    }),
  })

/** The real stores; what is not said leads nowhere. */
export const testStores = (options: Pick<StoreOptions, 'db'> & Partial<StoreOptions>): ReadRef =>
  openSecretStores({
    variables: new Map(),
    folder: '/nowhere',
    envelope: testEnvelope(),
    vault: undefined,
    ...options,
  })

/** For resolvers whose uses nobody asks for. */
export const usesUnseen = { touch: () => undefined }
