import { isDeepStrictEqual } from 'node:util'
import { type PlaneAnswer, type PlaneClient, refusal, told } from './plane-client.ts'
import { NotShown } from './verdict.ts'

export interface DocumentConnector {
  readonly kind: string
  readonly policy?: string
  readonly secrets?: Readonly<Record<string, string>>
}

/** A config as far as the checks look into it. */
export interface Document {
  readonly policies: Readonly<Record<string, unknown>>
  readonly connectors: Readonly<Record<string, DocumentConnector>>
}

/** All pages of a list. */
export async function everything<Item>(plane: PlaneClient, path: string): Promise<Item[]> {
  const items: Item[] = []
  let cursor: string | null = ''
  while (cursor !== null) {
    const page: { data: Item[]; next_cursor: string | null } = await plane.want(
      `${path}?limit=200${cursor && `&cursor=${encodeURIComponent(cursor)}`}`,
    )
    items.push(...page.data)
    cursor = page.next_cursor
  }
  return items
}

const EMPTY: Document = { policies: {}, connectors: {} }
const TRIES = 5

/** The active config and its version; empty and undefined when there is none yet. */
export async function activeDocument(
  control: PlaneClient,
): Promise<{ readonly document: Document; readonly version: number | undefined }> {
  const answer = await control.call<{ document: Document; version: number }>('/configs/active')
  if (answer.status === 404) return { document: EMPTY, version: undefined }
  if (answer.status !== 200)
    throw new NotShown(`control answered ${answer.status} to /configs/active: ${told(answer.body)}`)
  return answer.body
}

/** From which version to which the pointer was moved. */
export interface Step {
  readonly before: number | undefined
  readonly made: number
}

/** One new version, and only from the one that was read: what others change meanwhile is not undone. */
export async function changeDocument(
  control: PlaneClient,
  reason: string,
  make: (own: Document) => Document,
): Promise<Step | undefined> {
  for (let tries = 1; ; tries += 1) {
    const { document, version } = await activeDocument(control)
    const wanted = make(document)
    if (isDeepStrictEqual(wanted, document)) return undefined
    const headers = version === undefined ? {} : { 'if-match': `"${version}"` }
    const stored = await control.call<{ version: number }>('/configs', {
      body: { document: wanted, reason },
      headers,
    })
    const made = stored.body.version
    const answer: PlaneAnswer =
      stored.status === 201
        ? await control.call('/configs/activate', { body: { version: made, reason }, headers })
        : { ...stored, body: { ...stored.body } }
    if (answer.status === 200) return { before: version, made }
    if (answer.status !== 412 || tries === TRIES)
      throw refusal(
        answer,
        `The config with what the verification needs was refused: ${told(answer.body)}`,
        'Mend what the refusal names in the active config; the verification adds its own objects to it.',
      )
  }
}
