import { resolve } from 'node:path'
import { type Static, Type } from 'typebox'
import { Secret } from './platform/secret.ts'

const MIB = 1024 * 1024
const ofS3 = (description: string) => Type.Optional(Type.String({ minLength: 1, description }))

/** Settings of where large bodies are kept. */
export const payloadSettings = {
  PAYLOAD_STORE: Type.Enum(['disk', 's3'], {
    default: 'disk',
    description:
      'Where bodies that are too large for the database are kept: `disk` = PAYLOAD_DIR, for one host; `s3` = the bucket that the S3 settings name. What the other one holds is still read while its settings are there (docs/payloads.md).',
  }),
  PAYLOAD_DIR: Type.Optional(
    Type.String({
      minLength: 1,
      description:
        'Folder of `PAYLOAD_STORE=disk`. Processes that are started one by one need it set: all of them must see the same folder. Absent: `<DATA_DIR>/payloads`.',
    }),
  ),
  PAYLOAD_INLINE_LIMIT_BYTES: Type.Integer({
    minimum: 1_024,
    maximum: MIB,
    default: 65_536,
    description: 'Largest body that is kept in the database itself; larger ones go to the payload store.',
  }),
  PAYLOAD_SPOOL_LIMIT_BYTES: Type.Integer({
    minimum: 0,
    maximum: 64 * 1024 * MIB,
    default: 256 * MIB,
    description:
      'How much may wait in the database, over the whole hub, while the payload store is away. A body beyond that is answered with 503.',
  }),
  PAYLOAD_ENCRYPTION: Type.Enum(['off', 'on'], {
    default: 'off',
    description:
      'Whether large bodies are encrypted before they reach the payload store, with the key-encryption key of stored secrets. What was kept before stays as it is.',
  }),
  S3_ENDPOINT: Type.Optional(
    Type.String({
      pattern: '^https?://[^/?#@\\s]+/?$',
      description: 'S3 server of the payloads, without a path, e.g. `http://minio:9000`.',
    }),
  ),
  S3_BUCKET: ofS3('Bucket of the payloads. It must be there.'),
  S3_REGION: Type.String({ minLength: 1, default: 'us-east-1', description: 'Region of that bucket.' }),
  S3_ACCESS_KEY_ID: ofS3('Access key for that bucket.'),
  S3_SECRET_ACCESS_KEY: ofS3('Secret of that access key.'),
  S3_SECRET_ACCESS_KEY_FILE: ofS3('File with the secret, read again every five minutes.'),
}

const AllPayloadSettings = Type.Object(payloadSettings)
type PayloadSettings = Static<typeof AllPayloadSettings>

export interface PayloadConfig {
  readonly store: 'disk' | 's3'
  readonly folder: string
  /** Somebody has chosen the folder, knowing who has to see it. */
  readonly folderIsChosen: boolean
  readonly inlineLimitBytes: number
  readonly spoolLimitBytes: number
  readonly encrypt: boolean
  readonly s3:
    | {
        readonly endpoint: string
        readonly bucket: string
        readonly region: string
        readonly accessKeyId: Secret
        readonly secretAccessKey: Secret | undefined
        readonly secretAccessKeyFile: string | undefined
      }
    | undefined
}

export function payloadsOf(settings: PayloadSettings, dataDir: string): PayloadConfig {
  const { S3_ENDPOINT: endpoint, S3_BUCKET: bucket, S3_ACCESS_KEY_ID: keyId } = settings
  return {
    store: settings.PAYLOAD_STORE,
    folder: resolve(settings.PAYLOAD_DIR ?? `${dataDir}/payloads`),
    folderIsChosen: settings.PAYLOAD_DIR !== undefined,
    inlineLimitBytes: settings.PAYLOAD_INLINE_LIMIT_BYTES,
    spoolLimitBytes: settings.PAYLOAD_SPOOL_LIMIT_BYTES,
    encrypt: settings.PAYLOAD_ENCRYPTION === 'on',
    s3:
      endpoint === undefined || bucket === undefined || keyId === undefined
        ? undefined
        : {
            ...{ endpoint, bucket, region: settings.S3_REGION, accessKeyId: new Secret(keyId) },
            secretAccessKey:
              settings.S3_SECRET_ACCESS_KEY === undefined
                ? undefined
                : new Secret(settings.S3_SECRET_ACCESS_KEY),
            secretAccessKeyFile: settings.S3_SECRET_ACCESS_KEY_FILE,
          },
  }
}

/** Half an S3, and one that is needed and not there. */
export function payloadFaults(text: (name: string) => string): string[] {
  const faults: string[] = []
  const needed = ['S3_ENDPOINT', 'S3_BUCKET', 'S3_ACCESS_KEY_ID']
  const missing = needed.filter((name) => text(name) === '')
  const secrets = ['S3_SECRET_ACCESS_KEY', 'S3_SECRET_ACCESS_KEY_FILE'].filter((name) => text(name) !== '')
  const begun = missing.length < needed.length || secrets.length > 0
  if (missing.length > 0 && text('PAYLOAD_STORE') === 's3')
    faults.push(`PAYLOAD_STORE=s3 needs ${missing.join(', ')}`)
  else if (missing.length > 0 && begun)
    faults.push(`the S3 settings belong together, without ${missing.join(' and ')} they name no store`)
  if (missing.length === 0 && secrets.length !== 1)
    faults.push('S3_ACCESS_KEY_ID needs exactly one of S3_SECRET_ACCESS_KEY and S3_SECRET_ACCESS_KEY_FILE')
  return faults
}
