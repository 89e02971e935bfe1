import { Problem } from '../../problems.ts'

/**
 * The moment that a field names which its schema has found to be a date-time. Errors: `validation_error` for one that is
 * well written and does not exist here: RFC 3339 knows leap seconds, JavaScript and Postgres do not.
 */
export function momentAt(path: string, text: string): Date {
  const moment = new Date(text)
  if (!Number.isNaN(moment.getTime())) return moment
  const detail = { path, message: 'is not a moment that exists' }
  throw new Problem('validation_error', `${detail.path} ${detail.message}.`, { details: [detail] })
}
