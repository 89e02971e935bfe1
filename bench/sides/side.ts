/** What a measurement needs to know of a job engine; ours and the rivals look the same from here. */

/** One job's payload: about 300 bytes of JSON, the same for every side. */
export interface Item {
  /** Number of the job in its measurement; tells lost and repeated ones. */
  readonly n: number
  /** Moment of the enqueue on the machine's monotonic clock, in µs: comparable between processes. */
  readonly sent_us: number
  readonly to: string
  readonly template: string
  readonly text: string
}

export type ItemHandler = (item: Item) => Promise<void> | void

export interface WorkerSettings {
  readonly handler: ItemHandler
  /** Handlers that run at once. */
  readonly concurrency: number
}

export interface Counts {
  /** Jobs that wait or run. */
  readonly unfinished: number
  /** Jobs that failed at least once. */
  readonly failed: number
}

export interface Engine {
  /** Resolves when the job is as durable as the engine makes it. */
  enqueueOne(item: Item): Promise<void>
  enqueueBatch(items: readonly Item[]): Promise<void>
  /** Resolves when workers take jobs; gives the way to stop them. */
  startWorkers(settings: WorkerSettings): Promise<() => Promise<void>>
  /** Nothing waits and nothing runs. Cheap: it is asked often while a drain ends. */
  drained(): Promise<boolean>
  counts(): Promise<Counts>
  /** Closes connections; the store itself is thrown away by the caller. */
  close(): Promise<void>
}

export interface Where {
  /** A fresh database of its own, as its owner. For ours the schema is there already. */
  readonly databaseUrl: string
  /** Ports of the Redis servers, by their `appendfsync`; undefined without Redis. */
  readonly redis: { readonly always: number; readonly everysec: number } | undefined
}

export interface Side {
  /** How it is configured, for the report. */
  readonly configuration: string
  /** Makes its schema where it has one, and connects. */
  open(where: Where): Promise<Engine>
}

const TEXT = 'Your appointment is confirmed. Reply C to cancel or R to move it to another day. '

export const itemOf = (n: number, sentUs = 0): Item => ({
  n,
  sent_us: sentUs,
  to: '+15550100200',
  template: 'appointment_confirmed',
  text: TEXT.repeat(3).slice(0, 200),
})
