import type { InboxStatus } from './status.ts'

/** A filter as it is stored with its plan; times are ISO 8601. */
export interface StoredFilter {
  /** At least one: what is done and what is dead are different wishes. */
  readonly statuses: readonly InboxStatus[]
  readonly provider?: string
  readonly type?: string
  readonly account?: string
  readonly route_id?: string
  readonly received_after?: string
  readonly received_before?: string
}

/**
 * Whom events are about: by the value at a place of the payload, by a text anywhere in it, or by both at once. Without
 * `equals` and `contains` the values have gone with the end of the plan.
 */
export interface Subject {
  readonly pointer?: string
  readonly equals?: string
  readonly contains?: string
}

/** What a plan is about. */
export type Selection =
  | { readonly ids: readonly string[] }
  | { readonly filter: StoredFilter }
  | { readonly event_id: string }
  | { readonly subject: Subject }

/** The selection as people may see it and as it stays: a person's data is not among it. */
export const shownSelection = (selection: Selection): Selection =>
  'subject' in selection ? { subject: pointerOf(selection.subject) } : selection

const pointerOf = ({ pointer }: Subject): Subject => (pointer === undefined ? {} : { pointer })
