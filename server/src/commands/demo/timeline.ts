import { setTimeout as delay } from 'node:timers/promises'
import type { Api } from '../api.ts'
import { print } from '../command.ts'

/** An event as `GET /events` gives it. */
export interface HubEvent {
  readonly type: string
  readonly at: string
  readonly message: string
  readonly trace_id: string | null
  readonly job_id: string | null
  readonly data: Readonly<Record<string, unknown>>
}

const POLL_MS = 100
const GIVE_UP_MS = 30_000

/** All events of one trace, oldest first. */
const eventsOfTrace = async (exec: Api, traceId: string): Promise<readonly HubEvent[]> =>
  (await exec.get<{ data: HubEvent[] }>(`/events?trace_id=${traceId}&limit=200`)).data

/** Reads the events of a trace until `enough` says so; gives back what was there after 30 s otherwise. */
export async function waitForEvents(
  exec: Api,
  traceId: string,
  enough: (types: ReadonlySet<string>) => boolean,
): Promise<readonly HubEvent[]> {
  const givesUpAt = performance.now() + GIVE_UP_MS
  for (;;) {
    const events = await eventsOfTrace(exec, traceId)
    if (enough(new Set(events.map(({ type }) => type))) || performance.now() > givesUpAt) return events
    await delay(POLL_MS)
  }
}

/** Prints what happened in one trace, with the time since its first event. */
export function printTimeline(title: string, traceId: string, events: readonly HubEvent[]): void {
  print(`\n${title}\n  trace ${traceId}`)
  const start = Date.parse(events[0]?.at ?? '')
  for (const { at, type, message } of events) {
    const since = `+${String(Date.parse(at) - start).padStart(5)} ms`
    print(`  ${at.slice(11, 23)}  ${since}  ${type.padEnd(24)} ${message}`)
  }
}
