import type { GetObjectCommandOutput, HeadObjectCommandOutput, S3Client } from '@aws-sdk/client-s3'
import { Problem } from '../../../problems.ts'
import { CallFailure } from '../../../resilience/failure.ts'
import {
  type DryRunContext,
  defineConnector,
  type Health,
  type HealthContext,
  type InvokeContext,
  type InvokeResult,
  type Operation,
} from '../define-connector.ts'
import { newClient, sending } from './s3/client.ts'
import { contentOf, MAX_GET_BYTES, S3_SCHEMAS, type S3Input, s3InputFaults } from './s3/schemas.ts'
import { endpointOf, S3Settings, s3Faults } from './s3/settings.ts'

/** A list of a thousand keys of a thousand bytes. */
const MAX_LIST_BYTES = 4 * 1024 * 1024
const MAX_ANSWER_BYTES = 64 * 1024
const DEFAULT_EXPIRES_S = 900
const DEFAULT_LIMIT = 100

/** Objects in a bucket, by Amazon's S3 API: Amazon, MinIO, Ceph, R2 and others. */
export const s3 = defineConnector({
  kind: 's3',
  title: 'Object storage (S3)',
  description: 'Stores, reads, lists and deletes objects of one bucket, and makes URLs for them.',
  settings: S3Settings,
  secrets: {
    access_key_id: {
      title: 'Access key id',
      description: 'Of a user with rights to the bucket only.',
      required: true,
    },
    secret_access_key: { title: 'Secret access key', description: 'What belongs to the id.', required: true },
    session_token: { title: 'Session token', description: 'For temporary keys only.', required: false },
  },
  check: s3Faults,
  targets: (settings) => [{ path: '/settings/endpoint', url: endpointOf(settings) }],
  operations: (settings) => ({
    put: operation(settings, 'put', {
      title: 'Store an object',
      description: 'Stores up to 5 MiB under a key; what was there before is replaced.',
      safe: false,
      idempotent: true,
      run: put,
    }),
    get: operation(settings, 'get', {
      title: 'Read an object',
      description: 'Reads an object, or a part of it, of up to 1 MiB.',
      safe: true,
      maxResponseBytes: MAX_GET_BYTES,
      run: get,
    }),
    head: operation(settings, 'head', {
      title: 'Look at an object',
      description: 'What is known of an object, without its content.',
      safe: true,
      run: head,
    }),
    delete: operation(settings, 'delete', {
      title: 'Delete an object',
      description: 'Deletes an object. That there was none is a success, too.',
      safe: false,
      idempotent: true,
      run: remove,
    }),
    list: operation(settings, 'list', {
      title: 'List objects',
      description: 'One page of the objects of the bucket, in the order of their keys.',
      safe: true,
      maxResponseBytes: MAX_LIST_BYTES,
      run: list,
    }),
    presign: presign(settings),
  }),
  checkHealth,
})

type Run = (client: S3Client, bucket: string, input: S3Input) => Promise<Record<string, unknown>>
type Name = keyof typeof S3_SCHEMAS

function operation(
  settings: S3Settings,
  name: Name,
  of: Pick<Operation, 'title' | 'description' | 'safe' | 'idempotent'> & {
    readonly run: Run
    readonly maxResponseBytes?: number
  },
): Operation {
  const { run, maxResponseBytes = MAX_ANSWER_BYTES, ...described } = of
  return {
    ...described,
    ...S3_SCHEMAS[name],
    takesIdempotencyKey: false,
    checkInput: (input) => s3InputFaults(name, input as S3Input),
    invoke: (context) => {
      const input = checked(name, context.input)
      const headers = {
        'x-orchestrator-attempt': context.attemptToken,
        ...(context.traceparent !== '' && { traceparent: context.traceparent }),
      }
      return sending(settings, context, { headers, maxResponseBytes }, (client) =>
        run(client, settings.bucket, input),
      )
    },
    dryRun: (context) => preview(settings, name, context),
  }
}

/** Errors: `input_invalid`. A key that was not checked could leave its bucket. */
function checked(name: Name, input: unknown): S3Input {
  const details = s3InputFaults(name, input as S3Input)
  if (details.length > 0)
    throw new Problem('input_invalid', 'The input cannot be sent to the upstream.', { details })
  return input as S3Input
}

/** What would be called, in the words of the operation: the request itself is the SDK's and signed to the second. */
async function preview(settings: S3Settings, name: Name, { input, secrets, clock }: DryRunContext) {
  const { content_text: _text, content_base64: _base64, ...rest } = checked(name, input)
  const client = await newClient(settings, secrets, clock, () => {
    throw new Error('a dry run sends nothing')
  })
  client.destroy()
  return {
    operation: name,
    endpoint: endpointOf(settings),
    bucket: settings.bucket,
    ...rest,
    ...(name === 'put' && { bytes: contentOf(input as S3Input).length }),
  }
}

const put: Run = async (client, bucket, input) => {
  const { PutObjectCommand } = await import('@aws-sdk/client-s3')
  const body = contentOf(input)
  const { ETag, VersionId } = await client.send(
    new PutObjectCommand({
      Bucket: bucket,
      Key: input.key,
      Body: body,
      ContentType:
        input.content_type ?? (input.content_text === undefined ? undefined : 'text/plain; charset=utf-8'),
      Metadata: input.metadata && { ...input.metadata },
      IfNoneMatch: input.if_none_match ? '*' : undefined,
    }),
  )
  return present({ key: input.key, bytes: body.length, etag: ETag, version_id: VersionId })
}

const get: Run = async (client, bucket, { key, as = 'text', range, version_id }) => {
  const { GetObjectCommand } = await import('@aws-sdk/client-s3')
  const answer = await client.send(
    new GetObjectCommand({
      Bucket: bucket,
      Key: key,
      Range: range && `bytes=${range.start}-${range.end ?? ''}`,
      VersionId: version_id,
    }),
  )
  const body = Buffer.from((await answer.Body?.transformToByteArray()) ?? [])
  return present({
    ...factsOf(key, answer),
    bytes: body.length,
    content_range: answer.ContentRange,
    ...(as === 'base64' ? { content_base64: body.toString('base64') } : { content_text: textOf(body) }),
  })
}

function textOf(body: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body)
  } catch (cause) {
    throw new CallFailure({
      class: 'permanent',
      kind: 'not_text',
      message: 'The object is no text in UTF-8: read it as base64.',
      httpStatus: 200,
      cause,
    })
  }
}

const head: Run = async (client, bucket, { key, version_id }) => {
  const { HeadObjectCommand } = await import('@aws-sdk/client-s3')
  const answer = await client.send(new HeadObjectCommand({ Bucket: bucket, Key: key, VersionId: version_id }))
  return present({ ...factsOf(key, answer), bytes: answer.ContentLength ?? 0 })
}

const factsOf = (key: string, answer: GetObjectCommandOutput | HeadObjectCommandOutput) => ({
  key,
  content_type: answer.ContentType,
  etag: answer.ETag,
  last_modified: answer.LastModified?.toISOString(),
  version_id: answer.VersionId,
  metadata: answer.Metadata,
})

const remove: Run = async (client, bucket, { key, version_id }) => {
  const { DeleteObjectCommand } = await import('@aws-sdk/client-s3')
  const { VersionId } = await client.send(
    new DeleteObjectCommand({ Bucket: bucket, Key: key, VersionId: version_id }),
  )
  return present({ key, version_id: VersionId })
}

const list: Run = async (client, bucket, { prefix, delimiter, cursor, limit = DEFAULT_LIMIT }) => {
  const { ListObjectsV2Command } = await import('@aws-sdk/client-s3')
  const answer = await client.send(
    new ListObjectsV2Command({
      Bucket: bucket,
      Prefix: prefix,
      Delimiter: delimiter,
      ContinuationToken: cursor,
      MaxKeys: limit,
    }),
  )
  return {
    objects: (answer.Contents ?? []).map(({ Key, Size, ETag, LastModified }) =>
      present({ key: Key ?? '', bytes: Size ?? 0, etag: ETag, last_modified: LastModified?.toISOString() }),
    ),
    prefixes: (answer.CommonPrefixes ?? []).flatMap(({ Prefix }) => Prefix ?? []),
    next_cursor: answer.NextContinuationToken ?? null,
  }
}

const present = (members: Readonly<Record<string, unknown>>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined))

const presign = (settings: S3Settings): Operation => ({
  title: 'Make a URL',
  description:
    'Makes a URL by which anyone may read or store one object until it expires. Nothing is called; the bucket is not asked.',
  ...S3_SCHEMAS.presign,
  safe: true,
  takesIdempotencyKey: false,
  checkInput: (input) => s3InputFaults('presign', input as S3Input),
  invoke: (context) => signUrl(settings, context),
  dryRun: (context) => preview(settings, 'presign', context),
})

async function signUrl(settings: S3Settings, context: InvokeContext): Promise<InvokeResult> {
  const {
    key,
    method,
    content_type: type,
    expires_s: expiresIn = DEFAULT_EXPIRES_S,
  } = checked('presign', context.input)
  const { clock, secrets, signal } = context
  if (signal.aborted)
    throw new CallFailure({ class: 'never_sent', kind: 'aborted', message: 'The request was given up.' })
  const client = await newClient(settings, secrets, clock, () => {
    throw new Error('signing sends nothing')
  })
  const [{ GetObjectCommand, PutObjectCommand }, { getSignedUrl }] = await Promise.all([
    import('@aws-sdk/client-s3'),
    import('@aws-sdk/s3-request-presigner'),
  ])
  const object = { Bucket: settings.bucket, Key: key }
  const command =
    method === 'put' ? new PutObjectCommand({ ...object, ContentType: type }) : new GetObjectCommand(object)
  const signedAt = clock.now()
  try {
    const url = await getSignedUrl(client, command, {
      expiresIn,
      signingDate: new Date(signedAt),
      ...(type !== undefined && { signableHeaders: new Set(['content-type']) }),
    })
    return {
      output: {
        url,
        method: method === 'put' ? 'PUT' : 'GET',
        headers: type === undefined ? {} : { 'content-type': type },
        // The signature has whole seconds.
        expires_at: new Date(Math.floor(signedAt / 1_000) * 1_000 + expiresIn * 1_000).toISOString(),
      },
      httpStatus: null,
    }
  } finally {
    client.destroy()
  }
}

async function checkHealth(settings: S3Settings, context: HealthContext): Promise<Health> {
  const { HeadBucketCommand } = await import('@aws-sdk/client-s3')
  const { httpStatus } = await sending(
    settings,
    context,
    { headers: {}, maxResponseBytes: MAX_ANSWER_BYTES },
    (client) => client.send(new HeadBucketCommand({ Bucket: settings.bucket })),
  )
  return {
    healthy: true,
    message: 'The bucket is there, and the key may use it.',
    details: { http_status: httpStatus, endpoint: endpointOf(settings) },
  }
}
