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

/** One plane of a running hub, called as a caller with this token. Paths are relative to the base URL. */
export interface Api {
  get<T>(path: string): Promise<T>
  post<T>(path: string, body: unknown, headers?: Readonly<Record<string, string>>): Promise<T>
  put<T>(path: string, body: unknown): Promise<T>
  /** The bytes of an answer as they come, for what may be large. */
  download(path: string): Promise<AsyncIterable<Uint8Array>>
}

/** Calls over real HTTP, as any client would. Errors: `ApiError` for every answer that is not 2xx. */
export function createApi(baseUrl: string, token: string): Api {
  const call = async <T>(method: string, path: string, body?: unknown, headers = {}): Promise<T> => {
    const answer = await fetch(`${baseUrl}${path}`, {
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
      const answer = await fetch(`${baseUrl}${path}`, { headers: { authorization: `Bearer ${token}` } })
      if (!answer.ok || !answer.body)
        throw new ApiError(`GET ${path}`, answer.status, (await answer.json()) as Record<string, unknown>)
      return answer.body
    },
  }
}
