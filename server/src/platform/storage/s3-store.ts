import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  S3ServiceException,
} from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import type { Secret } from '../secret.ts'
import { type ObjectStore, requireKey, requirePrefix, requirePresign, StoreFailure } from './object-store.ts'

export interface S3Options {
  readonly endpoint: string
  readonly region: string
  readonly bucket: string
  /** Read at every client that is made: a file may be renewed. */
  readonly credentials: () => Promise<{ readonly accessKeyId: Secret; readonly secretAccessKey: Secret }>
}

const CONNECT_MS = 2_000
/** How long credentials are used before they are read again. */
const CREDENTIALS_MS = 300_000

/**
 * Objects in a bucket of S3, MinIO, Ceph, Swift: with the portable part of the API alone. It is the operator's own
 * store, named in the configuration like the database: no address of it is refused.
 */
export function createS3Store({ endpoint, region, bucket, credentials }: S3Options): ObjectStore {
  const client = new S3Client({
    endpoint,
    region,
    forcePathStyle: true,
    credentials: async () => {
      const { accessKeyId, secretAccessKey } = await credentials()
      return {
        accessKeyId: accessKeyId.reveal(),
        secretAccessKey: secretAccessKey.reveal(),
        expiration: new Date(Date.now() + CREDENTIALS_MS),
      }
    },
    // Who calls knows what to do instead: wait, spool, or say so.
    maxAttempts: 1,
    // Checksums in trailers are not understood by Ceph, Swift and others.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: { connectionTimeout: CONNECT_MS },
    // What is absent here the SDK looks up in the environment and in files of the user.
    defaultsMode: 'standard',
    retryMode: 'standard',
    useFipsEndpoint: false,
    useDualstackEndpoint: false,
    authSchemePreference: [],
    userAgentAppId: '',
  })
  const Bucket = bucket
  const within = <T>(timeoutMs: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> =>
    work(AbortSignal.timeout(timeoutMs)).catch((error: unknown) => {
      throw asFailure(error)
    })

  return {
    name: 's3',
    put: (key, bytes, { contentType, timeoutMs }) => {
      const command = new PutObjectCommand({
        ...{ Bucket, Key: requireKey(key), Body: bytes },
        ...{ ContentLength: bytes.length, ContentType: contentType },
      })
      return within(timeoutMs, async (abortSignal) => void (await client.send(command, { abortSignal })))
    },
    get: (key, { timeoutMs, maxBytes }) => {
      const command = new GetObjectCommand({ Bucket, Key: requireKey(key) })
      return within(timeoutMs, async (abortSignal) => {
        try {
          const { Body, ContentLength = 0 } = await client.send(command, { abortSignal })
          if (ContentLength > maxBytes || !Body) throw new StoreFailure('the object is larger than it may be')
          return Buffer.from(await Body.transformToByteArray())
        } catch (error) {
          if (error instanceof S3ServiceException && error.name === 'NoSuchKey') return undefined
          throw error
        }
      })
    },
    delete: (key, { timeoutMs }) => {
      // One by one: several at once need a checksum that not every store knows.
      const command = new DeleteObjectCommand({ Bucket, Key: requireKey(key) })
      return within(timeoutMs, async (abortSignal) => {
        try {
          await client.send(command, { abortSignal })
        } catch (error) {
          if (!(error instanceof S3ServiceException && error.name === 'NoSuchKey')) throw error
        }
      })
    },
    list: (prefix, { timeoutMs, after, limit }) => {
      const command = new ListObjectsV2Command({
        ...{ Bucket, Prefix: requirePrefix(prefix), MaxKeys: limit },
        ...(after !== undefined && { StartAfter: after }),
      })
      return within(timeoutMs, async (abortSignal) => {
        const { Contents = [] } = await client.send(command, { abortSignal })
        return Contents.flatMap(({ Key }) => (Key === undefined ? [] : [Key]))
      })
    },
    presignedUrl: (key, options) => {
      requirePresign(options)
      const command = new GetObjectCommand({
        ...{ Bucket, Key: requireKey(key), ResponseContentType: 'application/octet-stream' },
        ResponseContentDisposition: `attachment; filename="${options.filename}"`,
      })
      return getSignedUrl(client, command, { expiresIn: options.expiresSeconds }).catch((error: unknown) => {
        throw asFailure(error)
      })
    },
    check: ({ timeoutMs }) =>
      within(
        timeoutMs,
        async (abortSignal) => void (await client.send(new HeadBucketCommand({ Bucket }), { abortSignal })),
      ),
    close: () => client.destroy(),
  }
}

/** In words without secrets, keys and what the server has echoed. */
function asFailure(error: unknown): StoreFailure {
  if (error instanceof StoreFailure) return error
  const { name, code, $metadata } = error as {
    name?: string
    code?: string
    $metadata?: { httpStatusCode?: number }
  }
  const status = $metadata?.httpStatusCode
  const what =
    name === 'AbortError' || name === 'TimeoutError' ? 'no answer in time' : (code ?? name ?? 'a fault')
  return new StoreFailure(
    `the object store failed: ${what}${status === undefined ? '' : ` (HTTP ${status})`}`,
  )
}
