/** The entries of a chain as a file, page by page: memory does not grow with the log. */
import type { Queryable } from '../../platform/db/statement.ts'
import { type AuditEntryView, auditView } from './audit.schema.ts'
import { type EntryFilter, findHead, listForward } from './audit.sql.ts'
import { toEntry } from './audit-entry.ts'

/** `json`: one JSON document per line (NDJSON), so that no reader has to hold all. `csv`: RFC 4180 with a header. */
export type ExportFormat = 'json' | 'csv'

const PAGE = 500

const COLUMNS = [
  'seq',
  'at',
  'actor',
  'role',
  'impersonator',
  'action',
  'object',
  'reason',
  'diff',
  'ip',
  'user_agent',
  'request_id',
  'trace_id',
  'hash',
] as const satisfies readonly (keyof AuditEntryView)[]

/** Spreadsheets run a cell that begins so as a formula (OWASP, CSV injection); an apostrophe makes it text. */
const FORMULA = /^[=+\-@\t\r]/

/** A field of RFC 4180 §2: quoted when it holds a comma, a quote or a line break. */
function cell(value: unknown): string {
  if (value === null || value === undefined) return ''
  const text = typeof value === 'object' ? JSON.stringify(value) : String(value)
  const harmless = FORMULA.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless
}

const csvLine = (cells: readonly unknown[]): string => `${cells.map(cell).join(',')}\r\n`

const FORMATS: Readonly<
  Record<ExportFormat, { readonly head: string; readonly line: (entry: AuditEntryView) => string }>
> = {
  json: { head: '', line: (entry) => `${JSON.stringify(entry)}\n` },
  csv: { head: csvLine(COLUMNS), line: (entry) => csvLine(COLUMNS.map((column) => entry[column])) },
}

/** Text of the entries that fit, oldest first, as far as the chain goes at the start. */
export async function* exportAudit(
  on: Queryable,
  filter: EntryFilter,
  format: ExportFormat,
): AsyncGenerator<string> {
  const { head, line } = FORMATS[format]
  const last = (await findHead(on, filter))?.seq ?? 0
  let text = head
  let afterSeq = 0
  for (;;) {
    const rows = await listForward(on, { ...filter, afterSeq, limit: PAGE })
    for (const row of rows) if (row.seq <= last) text += line(auditView(toEntry(row)))
    if (text !== '') yield text
    text = ''
    afterSeq = rows.at(-1)?.seq ?? last
    if (rows.length < PAGE || afterSeq >= last) return
  }
}
