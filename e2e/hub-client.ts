/** One HTTP call with everything of its answer, also of a refused one. */
export interface Answer<Body = Record<string, unknown>> {
  readonly status: number
  readonly headers: Headers
  readonly body: Body
}

export interface Call {
  readonly token?: string
  readonly method?: string
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
}

/** Calls the hub as any client would; POST when there is a body. Rejects only when no answer comes. */
export async function call<Body = Record<string, unknown>>(
  url: string,
  { token, body, headers, method = body === undefined ? 'GET' : 'POST' }: Call = {},
): Promise<Answer<Body>> {
  const answer = await fetch(url, {
    method,
    headers: {
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
      ...(body !== undefined && { 'content-type': 'application/json' }),
      // A test says what shall be there, whatever was there before.
      ...(method === 'PUT' && { 'if-match': '*' }),
      ...headers,
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  // A 204 has none.
  const text = await answer.text()
  return {
    status: answer.status,
    headers: answer.headers,
    body: (text === '' ? {} : JSON.parse(text)) as Body,
  }
}
