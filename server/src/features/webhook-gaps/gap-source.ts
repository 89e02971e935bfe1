import type { TObject } from 'typebox'
import { Problem } from '../../problems.ts'
import type { WebhookRoute } from '../webhook-routes/webhook-routes.ts'

/** An event as the list of its provider names it. */
export interface ListedEvent {
  readonly eventId: string
  readonly type: string
  readonly occurredAt: Date
  /** By which `fetch` finds it. */
  readonly handle: string
}

export interface ListedPage {
  readonly events: readonly ListedEvent[]
  /** Of everything on the page, before anything was left out of `events`; undefined = the page is empty. */
  readonly oldest: Date | undefined
  /** Where the next page begins; undefined = everything since `from` has been listed. */
  readonly next: string | undefined
}

/** The time that a check looks at. Lists go from the newest to the oldest, so what comes in meanwhile shifts nothing. */
export interface Window {
  readonly from: Date
  readonly until: Date
}

/** Calls a safe operation of the route's connector. Errors: any `Problem` of an execution. */
export type Ask = (operation: string, input: Readonly<Record<string, unknown>>) => Promise<unknown>

/** A route with what its `gapCheck.settings` say, which fit the schema of the source. */
export interface Asking {
  readonly ask: Ask
  readonly route: WebhookRoute
  readonly settings: Readonly<Record<string, unknown>>
}

/** An event as a request of its provider. */
export interface FetchedEvent {
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, readonly string[]>>
  readonly bytes: Buffer
}

/** How one provider is asked for what it could not deliver. Adding one = a file in `gap-sources/` and a line in its registry. */
export interface GapSource {
  /** As the webhook provider is called. */
  readonly provider: string
  /** Of which kinds the connector may be; one of kind `http` needs the operations that the source calls. */
  readonly connectorKinds: readonly string[]
  readonly settings: TObject
  /**
   * One page of the events of the window, without those that the provider knows were received (unless the settings ask
   * for all). Errors: those of `ask`, `upstream_error` for an answer that is no list.
   */
  list(asking: Asking, window: Window, after: string | undefined): Promise<ListedPage>
  /** One event as the provider would have sent it. Errors: as `list`. */
  fetch(asking: Asking, handle: string): Promise<FetchedEvent>
}

export const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

export const oldestOf = (events: readonly ListedEvent[]): Date | undefined =>
  events.length === 0
    ? undefined
    : new Date(Math.min(...events.map(({ occurredAt }) => occurredAt.getTime())))

/** What the provider answered is not what its API is described as: the check says so and finds nothing. */
export const unreadable = (what: string): Problem =>
  new Problem('upstream_error', `The provider's answer cannot be read: ${what}.`)
