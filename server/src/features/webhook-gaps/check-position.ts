import { createHash } from 'node:crypto'
import { Problem } from '../../problems.ts'
import { type ListedPage, unreadable } from './gap-source.ts'

/** Where a check under way has come to. */
export interface CheckPosition {
  /** ISO 8601: where it goes back from. */
  readonly until: string
  /** The page that comes next; null = the first. */
  readonly after: string | null
  /** Read so far, over all turns. */
  readonly pages: number
  /** ISO 8601: the oldest event of all pages so far; null = none was read. */
  readonly oldest: string | null
  /** Marks of the pages named since it last came to an older event. */
  readonly seen: readonly string[]
}

/** A provider may list what it sent late (GitHub's throttled deliveries) by when it happened. */
const ORDER_SLACK_MS = 60 * 60_000
/** Stripe's times are whole seconds: five thousand events of one second. */
const MAX_STALLED_PAGES = 50

export const firstPosition = (until: Date): CheckPosition => ({
  ...{ until: until.toISOString(), after: null, pages: 0, oldest: null, seen: [] },
})

const markOf = (next: string): string => createHash('sha256').update(next).digest('base64url').slice(0, 16)

/**
 * Where the check goes on after a page. A list goes back in time, so a circle of pages must stay at one moment: the pages
 * named at that moment are all that has to be remembered. Errors: `upstream_error` for a list that comes to no end.
 */
export function positionAfter(
  before: CheckPosition,
  { next, oldest }: Pick<ListedPage, 'next' | 'oldest'>,
  maxPages: number,
): CheckPosition {
  const pages = before.pages + 1
  if (next === undefined) return { ...before, pages }
  if (!oldest) throw unreadable('a page without events says that there are more')
  const reached = before.oldest === null ? Number.POSITIVE_INFINITY : Date.parse(before.oldest)
  if (oldest.getTime() > reached + ORDER_SLACK_MS)
    throw unreadable('a page has only younger events than the page before it')
  const mark = markOf(next)
  if (before.seen.includes(mark))
    throw unreadable('a page names as the next one a page that it has given already')
  const deeper = oldest.getTime() < reached
  const seen = deeper ? [mark] : [...before.seen, mark]
  if (seen.length > MAX_STALLED_PAGES)
    throw unreadable(`its last ${MAX_STALLED_PAGES} pages go no further back`)
  if (pages >= maxPages)
    throw new Problem(
      'upstream_error',
      `The list has more than ${maxPages} pages, and a check reads no more. Let it list less, e.g. only some types.`,
    )
  return {
    until: before.until,
    after: next,
    pages,
    oldest: deeper ? oldest.toISOString() : before.oldest,
    seen,
  }
}
