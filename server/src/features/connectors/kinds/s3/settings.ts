import { type Static, Type } from 'typebox'
import type { ProblemDetail } from '../../../../problems.ts'

export const S3Settings = Type.Object(
  {
    bucket: Type.String({
      title: 'Bucket',
      pattern: '^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$',
      description: 'The bucket; every key is inside it.',
    }),
    region: Type.String({
      title: 'Region',
      pattern: '^[a-z0-9]+(-[a-z0-9]+)*$',
      maxLength: 50,
      description: 'E.g. `eu-central-1`. Servers of your own mostly take `us-east-1`.',
    }),
    endpoint: Type.Optional(
      Type.String({
        title: 'Endpoint',
        pattern: '^https?://',
        maxLength: 2000,
        description:
          'For MinIO, Ceph, R2 and the like: where the server is. Absent = Amazon, in the region of the settings.',
      }),
    ),
    path_style: Type.Optional(
      Type.Boolean({
        title: 'Bucket in the path',
        default: false,
        description:
          'Calls `endpoint/bucket/key` instead of `bucket.endpoint/key`. Most servers of your own need it. Absent = false.',
      }),
    ),
  },
  { additionalProperties: false },
)
export type S3Settings = Static<typeof S3Settings>

/** Never left to the SDK, which would also look into the environment and into files. */
export const endpointOf = ({ endpoint, region }: S3Settings): string =>
  (endpoint ?? `https://s3.${region}.amazonaws.com`).replace(/\/+$/, '')

export function s3Faults(settings: S3Settings): ProblemDetail[] {
  const path = '/settings/endpoint'
  const url = URL.parse(endpointOf(settings))
  if (!url) return [{ path, message: 'is not a URL' }]
  const faults: ProblemDetail[] = []
  if (url.pathname !== '/' || /[?#]/.test(endpointOf(settings)))
    faults.push({ path, message: 'must be scheme, host and port only' })
  if (url.username !== '' || url.password !== '')
    faults.push({ path, message: 'must have no user name or password' })
  if (/\.\.|\.-|-\./.test(settings.bucket))
    faults.push({ path: '/settings/bucket', message: 'must have no dot beside a dot or a dash' })
  if (settings.path_style !== true && /^(\[|\d+(\.\d+){3}$)/.test(url.hostname))
    faults.push({ path: '/settings/path_style', message: 'must be true for an endpoint that is an address' })
  return faults
}
