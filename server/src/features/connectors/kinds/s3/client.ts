import { Readable } from 'node:stream'
import type { S3Client } from '@aws-sdk/client-s3'
import type { Clock } from '../../../../platform/clock.ts'
import type { DialRequest, DialResponse } from '../../../../platform/dial/dial-request.ts'
import { RESERVED_HEADERS } from '../../../../platform/dial/request-headers.ts'
import type { Secret } from '../../../../platform/secret.ts'
import { Problem } from '../../../../problems.ts'
import { CallFailure } from '../../../../resilience/failure.ts'
import { failureOfS3 } from './failure.ts'
import { endpointOf, type S3Settings } from './settings.ts'

/** A request as the SDK hands it to what sends it, signed. */
interface SdkRequest {
  readonly method: string
  readonly protocol: string
  readonly hostname: string
  readonly port?: number
  readonly path: string
  readonly query?: Readonly<Record<string, string | readonly string[] | null>>
  readonly headers: Readonly<Record<string, string>>
  readonly body?: unknown
}

/** How the requests of one client go out; throws what the call shall fail with. */
export type Send = (
  request: Pick<DialRequest, 'method' | 'url' | 'headers' | 'body'>,
) => Promise<DialResponse>

/**
 * A client for one attempt. It neither retries nor reads the environment or files of the machine, and its requests
 * go through `send`. Errors: `secret_unresolved` for secrets that cannot be used.
 */
export async function newClient(
  settings: S3Settings,
  secrets: Readonly<Record<string, Secret>>,
  clock: Clock,
  send: Send,
): Promise<S3Client> {
  const credentials = credentialsOf(secrets)
  const { S3Client } = await import('@aws-sdk/client-s3')
  return new S3Client({
    region: settings.region,
    endpoint: endpointOf(settings),
    forcePathStyle: settings.path_style ?? false,
    credentials,
    maxAttempts: 1,
    retryMode: 'standard',
    defaultsMode: 'standard',
    // Checksums in trailers are not understood by Ceph, Swift and others (feasibility: their streams are refused).
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    useFipsEndpoint: false,
    useDualstackEndpoint: false,
    useArnRegion: false,
    disableMultiregionAccessPoints: true,
    disableS3ExpressSessionAuth: true,
    // What is absent here the SDK looks up in the environment and in files of the user.
    authSchemePreference: [],
    sigv4aSigningRegionSet: [settings.region],
    userAgentAppId: '',
    disableClockSkewCorrection: false,
    systemClockOffset: clock.now() - Date.now(),
    requestHandler: {
      metadata: { handlerProtocol: 'http/1.1' },
      updateHttpClientConfig: () => undefined,
      httpHandlerConfigs: () => ({}),
      handle: async (request: SdkRequest) => {
        const { status, headers, body } = await send(asDialRequest(request))
        return { response: { statusCode: status, headers: { ...headers }, body: Readable.from([body]) } }
      },
    },
  })
}

/** A header's value cannot have line breaks; longer ones than this are no keys. */
const KEY = /^[\x21-\x7e]{1,4096}$/

function credentialsOf(secrets: Readonly<Record<string, Secret>>) {
  const read = (name: string): string => {
    const value = secrets[name]?.reveal() ?? ''
    if (!KEY.test(value))
      throw new Problem(
        'secret_unresolved',
        `The value of the secret ${name} is empty or has characters that no key has.`,
      )
    return value
  }
  return {
    accessKeyId: read('access_key_id'),
    secretAccessKey: read('secret_access_key'),
    ...(secrets.session_token && { sessionToken: read('session_token') }),
  }
}

/** What stands in the URL was signed as RFC 3986 writes it: one character otherwise and the signature is wrong. */
const escapeUri = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (mark) => `%${mark.charCodeAt(0).toString(16).toUpperCase()}`)

function asDialRequest(request: SdkRequest): Parameters<Send>[0] {
  const { protocol, hostname, port, path, query = {}, headers, body } = request
  const parameters = Object.entries(query).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value ?? '']).map((item) => `${escapeUri(name)}=${escapeUri(item)}`),
  )
  const search = parameters.length > 0 ? `?${parameters.join('&')}` : ''
  return {
    method: request.method as DialRequest['method'],
    url: `${protocol}//${hostname}${port === undefined ? '' : `:${port}`}${path}${search}`,
    headers: {
      ...Object.fromEntries(
        Object.entries(headers).filter(([name]) => !RESERVED_HEADERS.has(name.toLowerCase())),
      ),
      'user-agent': 'orchestrator',
    },
    ...(typeof body === 'string' || body instanceof Uint8Array ? { body } : {}),
  }
}

/**
 * Runs one command with a client over the guarded dial and gives its output and status. Throws the `DialFailure` as
 * it came, or the `CallFailure` of an answer that is no success; what the SDK makes of them is not used.
 */
export async function sending<Output>(
  settings: S3Settings,
  context: {
    readonly secrets: Readonly<Record<string, Secret>>
    readonly clock: Clock
    readonly signal: AbortSignal
    readonly connectTimeoutMs: number
    readonly dial: { request(request: DialRequest): Promise<DialResponse> }
  },
  extra: { readonly headers: Readonly<Record<string, string>>; readonly maxResponseBytes: number },
  run: (client: S3Client) => Promise<Output>,
): Promise<{ readonly output: Output; readonly httpStatus: number }> {
  let failure: unknown
  let httpStatus = 0
  const client = await newClient(settings, context.secrets, context.clock, async (request) => {
    try {
      const response = await context.dial.request({
        ...request,
        headers: { ...request.headers, ...extra.headers },
        signal: context.signal,
        connectTimeoutMs: context.connectTimeoutMs,
        maxResponseBytes: extra.maxResponseBytes,
      })
      httpStatus = response.status
      if (httpStatus < 200 || httpStatus > 299) throw failureOfS3(response, context.clock.now())
      return response
    } catch (error) {
      failure = error
      throw error
    }
  })
  try {
    return { output: await run(client), httpStatus }
  } catch (error) {
    if (failure !== undefined) throw failure
    if (httpStatus === 0 || error instanceof CallFailure) throw error
    // An unreadable answer to a success is final: the call had its effect.
    throw new CallFailure({
      class: 'permanent',
      effect: 'done',
      kind: 'output_invalid',
      message: 'The object store answered with success, but with something that is not S3.',
      httpStatus,
      upstream: { http_status: httpStatus, body_excerpt: '' },
      cause: error,
    })
  } finally {
    client.destroy()
  }
}
