import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import type { Clock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import type { Secret } from '../../platform/secret.ts'
import { listSearchedTables, readRows, type SearchedTable } from './onboarding.sql.ts'

export interface Needle {
  readonly name: string
  readonly value: Secret
}

export interface SearchResult {
  /** Name of the secret and where it was found, e.g. a table. */
  readonly hits: readonly { readonly name: string; readonly place: string }[]
  /** Bytes of text that were looked at. */
  readonly looked: number
  /** What the time did not suffice for. */
  readonly left: readonly string[]
}

export interface SearchText {
  /** Looks through every table that has rows of the workspace. */
  database(tenantId: string, needles: readonly Needle[]): Promise<SearchResult>
  /** Looks through the end of the log; undefined when it does not go to a file that this process can read. */
  log(needles: readonly Needle[]): Promise<SearchResult | undefined>
}

/** A shorter value would be found everywhere by chance. */
export const SHORTEST_NEEDLE = 8
const DATABASE_MS = 20_000
const MAX_LOG_BYTES = 64 * 1024 * 1024
/** Of one row; what is longer is a payload whose rest is of no other kind. */
const LONGEST_ROW = 262_144
const BATCH_BYTES = 4 * 1024 * 1024
const MAX_BLOCKS = 256

/** A value as it may stand in JSON, in JSON inside of JSON, in a URL, in base64 at each of its three places, and in hex. */
export function formsOf(value: string): string[] {
  const json = JSON.stringify(value).slice(1, -1)
  const bytes = Buffer.from(value, 'utf8')
  const shifted = [0, 1, 2].map((shift) => {
    const encoded = Buffer.concat([Buffer.alloc(shift), bytes]).toString('base64')
    // Only the letters that no neighbouring byte changes.
    const from = shift === 0 ? 0 : shift + 1
    return encoded.slice(from, Math.floor(((shift + bytes.length) * 4) / 3))
  })
  return [
    ...new Set([
      value,
      json,
      JSON.stringify(json).slice(1, -1),
      encodeURIComponent(value),
      bytes.toString('hex'),
      Buffer.from(json, 'utf8').toString('hex'),
      ...shifted,
    ]),
  ]
}

interface Form {
  readonly name: string
  readonly text: string
}

const allForms = (needles: readonly Needle[]): Form[] =>
  needles.flatMap(({ name, value }) => formsOf(value.reveal()).map((text) => ({ name, text })))

export const createSearchText = (deps: {
  readonly db: Db
  readonly clock: Clock
  /** undefined = the log goes elsewhere. */
  readonly logFile: string | undefined
}): SearchText => ({
  database: async (tenantId, needles) => {
    const forms = allForms(needles)
    const until = deps.clock.monotonic() + DATABASE_MS
    const hits = new Map<string, { name: string; place: string }>()
    const left: string[] = []
    let looked = 0
    for (const table of await listSearchedTables(deps.db, {})) {
      for await (const text of rowsOf(deps.db, table, tenantId)) {
        looked += text.length
        for (const form of forms)
          if (text.includes(form.text))
            hits.set(`${form.name} ${table.name}`, { name: form.name, place: `the table ${table.name}` })
        if (deps.clock.monotonic() > until) {
          left.push(table.name)
          break
        }
      }
    }
    return { hits: [...hits.values()], looked, left }
  },
  log: async (needles) => {
    const { logFile } = deps
    if (logFile === undefined) return undefined
    const size = await stat(logFile).then(
      (file) => file.size,
      () => undefined,
    )
    if (size === undefined) return undefined
    return searchFile(logFile, Math.max(0, size - MAX_LOG_BYTES), allForms(needles))
  },
})

/** Rows as text, batch after batch of the table's blocks; batches grow while there is little in them. */
async function* rowsOf(db: Db, table: SearchedTable, tenantId: string): AsyncGenerator<string> {
  let blocks = 1
  for (let firstBlock = 0; firstBlock < table.blocks; ) {
    const rows = await readRows(db, { table, tenantId, firstBlock, blocks, longest: LONGEST_ROW })
    firstBlock += blocks
    let bytes = 0
    for (const { text } of rows) {
      bytes += text.length
      yield text
    }
    blocks = bytes > BATCH_BYTES ? Math.max(1, blocks >> 1) : Math.min(MAX_BLOCKS, blocks * 2)
    // A batch without rows of the workspace must still let the time be looked at.
    if (rows.length === 0) yield ''
  }
}

async function searchFile(path: string, start: number, forms: readonly Form[]): Promise<SearchResult> {
  const longest = Math.max(1, ...forms.map(({ text }) => text.length))
  const hits = new Map<string, { name: string; place: string }>()
  let tail = ''
  let looked = 0
  for await (const chunk of createReadStream(path, { start, encoding: 'utf8' }) as AsyncIterable<string>) {
    const text = tail + chunk
    looked += chunk.length
    for (const { name, text: form } of forms)
      if (text.includes(form)) hits.set(name, { name, place: `the log ${path}` })
    // A value may lie across two chunks.
    tail = text.slice(-longest)
  }
  return {
    hits: [...hits.values()],
    looked,
    left: start > 0 ? [`the log before its last ${MAX_LOG_BYTES} bytes`] : [],
  }
}
