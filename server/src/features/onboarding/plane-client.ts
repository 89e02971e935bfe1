import { NotShown } from './verdict.ts'

export interface PlaneAnswer<Body = Record<string, unknown>> {
  readonly status: number
  readonly headers: Headers
  readonly body: Body
}

export interface PlaneCall {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'DELETE'
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  /** Another token than the client's; null = none. */
  readonly token?: string | null
}

/** A process of the hub, called over its public API as any client would. */
export interface PlaneClient {
  /** Answers whatever the status is. Errors: `NotShown` when nobody answers. */
  call<Body = Record<string, unknown>>(path: string, call?: PlaneCall): Promise<PlaneAnswer<Body>>
  /** Errors: `NotShown` for every answer that is not 2xx, with what the hub said. */
  want<Body = Record<string, unknown>>(path: string, call?: PlaneCall): Promise<Body>
}

/** Longer than the longest execution. */
const ANSWER_MS = 65_000

export function planeClient(of: {
  readonly name: string
  readonly url: string
  readonly token: string | null
  readonly signal: AbortSignal
}): PlaneClient {
  const call = async <Body>(path: string, { body, headers, token = of.token, ...rest }: PlaneCall = {}) => {
    const method = rest.method ?? (body === undefined ? 'GET' : 'POST')
    const answer = await fetch(`${of.url}${path}`, {
      method,
      headers: {
        ...(token !== null && { authorization: `Bearer ${token}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      signal: AbortSignal.any([of.signal, AbortSignal.timeout(ANSWER_MS)]),
      redirect: 'error',
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    }).catch((error: unknown) => {
      of.signal.throwIfAborted()
      throw new NotShown(
        `The ${of.name} process does not answer at ${of.url} (${reasonOf(error)}).`,
        `Start it, or set ${of.name.toUpperCase()}_URL of control to where it listens.`,
      )
    })
    const text = await answer.text()
    return { status: answer.status, headers: answer.headers, body: parsed(text) as Body }
  }
  return {
    call,
    want: async <Body>(path: string, options?: PlaneCall) => {
      const answer = await call<Body>(path, options)
      if (answer.status >= 200 && answer.status < 300) return answer.body
      const what = `${of.name} answered ${answer.status} to ${path.split('?')[0]}: ${told(answer.body)}`
      throw refusal(answer, what)
    },
  }
}

/** Why something was refused; at a quota what to do is to raise it, whatever else `mend` says. */
export function refusal({ body }: PlaneAnswer<unknown>, what: string, mend?: string): NotShown {
  const { code, quota } = (body ?? {}) as { code?: string; quota?: string }
  return new NotShown(what, code === 'quota_exceeded' && quota !== undefined ? roomFor(quota) : mend)
}

/** What to do when a workspace is at one of its limits. */
export const roomFor = (quota: string): string =>
  `Raise the quota \`${quota}\` of the workspace (PUT /workspaces/:id/quotas), or remove what is not needed any more: a verification adds a few objects for as long as it runs.`

/** What a problem document says, for a line of the report. */
export function told(body: unknown): string {
  const { detail, code, details } = (body ?? {}) as {
    detail?: string
    code?: string
    details?: { path: string; message: string }[]
  }
  const places = (details ?? []).slice(0, 5).map(({ path, message }) => `${path} ${message}`)
  return [detail ?? 'no problem document', ...places, code && `(${code})`].filter(Boolean).join(' ')
}

function parsed(text: string): unknown {
  try {
    return text === '' ? {} : JSON.parse(text)
  } catch {
    return {}
  }
}

const reasonOf = (error: unknown): string => {
  const { name, cause } = error as { name?: string; cause?: { code?: string } }
  return cause?.code ?? name ?? 'no answer'
}
