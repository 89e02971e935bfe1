import { StartRefused } from '../platform/start-refused.ts'

/** A failed call to the hub, with the problem document it answered. */
export class ApiError extends Error {
  readonly status: number
  readonly problem: Readonly<Record<string, unknown>>

  constructor(what: string, status: number, problem: Readonly<Record<string, unknown>>) {
    super(`${what} answered ${status}: ${JSON.stringify(problem)}`)
    this.name = 'ApiError'
    this.status = status
    this.problem = problem
  }
}

/** What the hub has refused, in its own words: a sentence, and a line for each fault that it names. */
export function sentenceOf({ status, problem }: ApiError): string {
  const { detail, code, details, request_id: request } = problem
  const faults = Array.isArray(details) ? (details as readonly Fault[]) : []
  const more = status >= 500 ? ` The log of the hub says more about request ${String(request)}.` : ''
  return [`${String(detail)} (${String(code)})${more}`, ...faults.map(lineOf)].join('\n')
}

export interface Fault {
  readonly path: string
  readonly message: string
}

export const lineOf = ({ path, message }: Fault): string => `  ${path} ${message}`

/** Everything in a list of the hub, page by page. */
export async function* everyPage<Item>(api: Api, path: string): AsyncGenerator<Item> {
  let cursor: string | null = ''
  while (cursor !== null) {
    const page: { readonly data: readonly Item[]; readonly next_cursor: string | null } = await api.get(
      `${path}?limit=200${cursor && `&cursor=${cursor}`}`,
    )
    yield* page.data
    cursor = page.next_cursor
  }
}

/** One plane of a running hub, called as a caller with this token. Paths are relative to the base URL. */
export interface Api {
  get<T>(path: string): Promise<T>
  post<T>(path: string, body: unknown, headers?: Readonly<Record<string, string>>): Promise<T>
  put<T>(path: string, body: unknown): Promise<T>
  /** The bytes of an answer as they come, for what may be large. */
  download(path: string): Promise<AsyncIterable<Uint8Array>>
}

/**
 * Calls over real HTTP, as any client would. Errors: `ApiError` for every answer that is not 2xx, `StartRefused` when
 * nobody answers.
 */
export function createApi(baseUrl: string, token: string): Api {
  const reach = (path: string, request: RequestInit): Promise<Response> =>
    fetch(`${baseUrl}${path}`, request).catch((cause: unknown) => {
      throw new StartRefused(
        `No hub answers at ${baseUrl}. Start it first (npm start). When it has other ports or another DATA_DIR, set them here too, or CONTROL_URL and EXEC_URL.`,
        { cause },
      )
    })
  const call = async <T>(method: string, path: string, body?: unknown, headers = {}): Promise<T> => {
    const answer = await reach(path, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    const document = (await answer.json()) as Record<string, unknown>
    if (!answer.ok) throw new ApiError(`${method} ${path}`, answer.status, document)
    return document as T
  }
  return {
    get: (path) => call('GET', path),
    post: (path, body, headers) => call('POST', path, body, headers),
    // A command says what shall be there, whatever was there before.
    put: (path, body) => call('PUT', path, body, { 'if-match': '*' }),
    download: async (path) => {
      const answer = await reach(path, { headers: { authorization: `Bearer ${token}` } })
      if (!answer.ok || !answer.body)
        throw new ApiError(`GET ${path}`, answer.status, (await answer.json()) as Record<string, unknown>)
      return answer.body
    },
  }
}
