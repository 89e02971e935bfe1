import { describe, expect, test } from 'vitest'
import { mostAtOnce } from './check/caps.ts'
import { percentile } from './check/takeovers.ts'
import { check, FAULTS, type Fault, type Verdict } from './checker.ts'
import type { AttemptRow, History, JobRow, Send, SinkRequest, Tables, Trouble } from './history.ts'

const TENANT = 'tenant'
const T = 1_000_000

/** What is told of one job: every part can be left out or changed. */
interface Told {
  readonly send?: Partial<Send> | null
  readonly job?: Partial<JobRow> | null
  readonly attempts?: readonly Partial<AttemptRow>[]
  readonly requests?: readonly Partial<SinkRequest>[]
  readonly events?: Readonly<Record<string, number>>
}

let count = 0

/** A job that was accepted, ran once from T to T+100 and is done. */
function story(
  told: Told = {},
): Pick<History, 'sends' | 'requests'> & Pick<Tables, 'jobs' | 'attempts' | 'events'> {
  count += 1
  const id = `job-${count}`
  const send: Send = {
    ...{ send: `s${count}`, tenant: TENANT, connector: 'ledger', script: 'ok', keyed: true, batch: null },
    ...{ callback: false, at: T - 50, tries: 1, answer: 'accepted', status: 202, jobId: id },
    ...{ answeredAt: T - 10, cancel: null },
    ...told.send,
  }
  const job: JobRow = {
    ...{ tenant: TENANT, id, queue: 2, priority: 3, connector: 'ledger', state: 'done', attempts: 1 },
    ...{ key: null, expires: null, send: send.send, callback_of: null, wants_callback: false },
    ...told.job,
  }
  const attempts = (told.attempts ?? [{}]).map((attempt, at) => ({
    ...{ tenant: TENANT, job: id, lease: count * 10 + at, attempt: at + 1, node: 'node-1' },
    ...{ started: T, ended: T + 100, outcome: 'done' as const, error: null },
    ...attempt,
  }))
  const requests = (told.requests ?? [{}]).map((request, at) => ({
    ...{ key: `orch-${id}`, token: `${id}-${at}`, about: send.send, callback: false },
    ...{ start: T + 10, end: T + 90, goneAt: null, status: 200, effect: true },
    ...request,
  }))
  const events = told.events ?? { 'job.queued': 1, 'job.succeeded': 1 }
  return {
    sends: told.send === null ? [] : [send],
    requests,
    jobs: told.job === null ? [] : [job],
    attempts: told.job === null ? [] : attempts,
    events: Object.entries(events).map(([type, times]) => ({ job: id, type, count: times })),
  }
}

function judge(
  stories: readonly ReturnType<typeof story>[],
  rest: Partial<Pick<History, 'troubles' | 'caps' | 'leases'> & Tables> = {},
): Verdict {
  const { troubles = [], caps = [], leases = [], ...tables } = rest
  return check({
    ...{ seed: 1, seconds: 1, staleRefused: 0, hurried: false, leases, caps, troubles },
    sends: stories.flatMap(({ sends }) => sends),
    requests: stories.flatMap(({ requests }) => requests),
    nodes: [
      { node: 'node-1', process: 'worker-1' },
      { node: 'node-2', process: 'worker-2' },
    ],
    tables: {
      jobs: stories.flatMap(({ jobs }) => jobs),
      attempts: stories.flatMap(({ attempts }) => attempts),
      events: stories.flatMap(({ events }) => events),
      ...{ places: [], dead: [], readAt: T + 60_000 },
      ...tables,
    },
  })
}

/** The faults that were found, so that a test names exactly what it expects. */
const faultsOf = (verdict: Verdict): Fault[] =>
  (Object.keys(FAULTS) as Fault[]).filter((fault) => verdict.faults[fault].length > 0)

/** Killed while it held the job; another worker ran it 20 s later. */
const TAKEN_OVER: Told = {
  job: { attempts: 2 },
  attempts: [
    { outcome: 'lost', error: 'worker_lost', ended: T + 18_000 },
    { node: 'node-2', started: T + 20_000, ended: T + 20_100 },
  ],
  requests: [
    { goneAt: T + 50, status: null },
    { start: T + 20_010, end: T + 20_090 },
  ],
  events: { 'job.queued': 1, 'job.rescued': 1, 'job.succeeded': 1 },
}
const KILL: Trouble = { kind: 'kill', target: 'worker-1', from: T + 50, to: T + 500 }

test('a run in which nothing happened is sound', () => {
  const verdict = judge([story(), story()])
  expect(faultsOf(verdict)).toEqual([])
  expect(verdict).toMatchObject({
    sound: true,
    sends: { sent: 2, accepted: 2, unknown: { all: 0, stored: 0 } },
    states: { done: 2 },
    effects: { requests: 2, effects: 2 },
  })
})

describe('promises', () => {
  test('acknowledged and never stored is lost', () => {
    expect(faultsOf(judge([story({ job: null, requests: [], events: {} })]))).toEqual(['lost'])
  })

  test('acknowledged, unfinished and nowhere is lost, and misplaced', () => {
    const told = { job: { state: 'queued' as const }, attempts: [], requests: [] }
    expect(faultsOf(judge([story(told)]))).toEqual(['lost', 'misplaced'])
  })

  test('a dead job without a dead letter is lost', () => {
    const told: Told = {
      job: { state: 'dead' },
      attempts: [{ outcome: 'dead', error: 'permanent' }],
      requests: [{ status: 400, effect: false }],
      events: { 'job.queued': 1, 'job.dead_lettered': 1 },
    }
    expect(faultsOf(judge([story(told)]))).toEqual(['lost', 'buried'])
    const seen = story({ ...told, send: { script: 'refuse' } })
    const dead = [{ job: seen.jobs[0]?.id ?? '', reason: 'permanent' }]
    expect(faultsOf(judge([seen], { dead }))).toEqual([])
  })

  test('no answer promises nothing, whether the job is there or not', () => {
    const send = { answer: 'unknown', status: null, jobId: null, answeredAt: null } as const
    const verdict = judge([story({ send }), story({ send, job: null, requests: [], events: {} })])
    expect(faultsOf(verdict)).toEqual([])
    expect(verdict.sends.unknown).toEqual({ all: 2, stored: 1 })
  })

  test('a refused job that is stored, a key that made two jobs, half a batch', () => {
    const refused = { answer: 'refused', status: 422, jobId: null } as const
    expect(faultsOf(judge([story({ send: refused })]))).toEqual(['unasked'])
    const first = story()
    const second = story({ send: null, job: { send: first.sends[0]?.send ?? '' }, requests: [] })
    expect(faultsOf(judge([first, second]))).toContain('doubled')
    const batch = { batch: 'b1', answer: 'unknown', status: 503, jobId: null } as const
    const half = [story({ send: batch }), story({ send: batch, job: null, requests: [], events: {} })]
    expect(faultsOf(judge(half))).toEqual(['torn'])
  })
})

describe('places', () => {
  const waiting: Told = { job: { state: 'queued' }, attempts: [], requests: [] }
  const place = (of: ReturnType<typeof story>, where: 'ready' | 'run' | 'deferred') => ({
    ...{ tenant: TENANT, job: of.jobs[0]?.id ?? '', place: where, started: where === 'run' ? T : null },
  })

  test('unfinished after the drain is stuck, in two places it is misplaced', () => {
    const one = story(waiting)
    expect(faultsOf(judge([one], { places: [place(one, 'ready')] }))).toEqual(['stuck'])
    expect(faultsOf(judge([one], { places: [place(one, 'ready'), place(one, 'deferred')] }))).toEqual([
      'misplaced',
    ])
  })

  test('a job that the hub had to repair was misplaced, however well it ended', () => {
    const repaired = story({ events: { 'job.queued': 1, 'job.repaired': 1, 'job.succeeded': 1 } })
    expect(faultsOf(judge([repaired]))).toEqual(['misplaced'])
  })

  test('a finished job leaves nothing behind, but for the ready row of a cancelled one', () => {
    const done = story()
    expect(faultsOf(judge([done], { places: [place(done, 'run')] }))).toEqual(['misplaced'])
    const cancelled = story({
      job: { state: 'cancelled' },
      attempts: [],
      requests: [],
      events: { 'job.queued': 1, 'job.cancelled': 1 },
    })
    expect(faultsOf(judge([cancelled], { places: [place(cancelled, 'ready')] }))).toEqual([])
    expect(faultsOf(judge([cancelled], { places: [place(cancelled, 'deferred')] }))).toEqual(['misplaced'])
  })

  test('a dead letter needs a reason: a refusal, an expiry, or three workers that were lost', () => {
    const lost = Array.from({ length: 3 }, (_, at) => ({
      ...{
        outcome: 'lost' as const,
        error: 'worker_lost',
        started: T + at * 1_000,
        ended: T + at * 1_000 + 900,
      },
    }))
    const verdictOf = (reason: string, told: Told) => {
      const buried = story({ ...told, requests: [], job: { state: 'dead', ...told.job } })
      const dead = [{ job: buried.jobs[0]?.id ?? '', reason }]
      return judge([buried], { dead }).faults.buried.length
    }
    const attempts = [{ outcome: 'dead', error: 'any' } as const]
    expect(verdictOf('permanent', { attempts, send: { script: 'refuse' } })).toBe(0)
    expect(verdictOf('permanent', { attempts })).toBe(1)
    expect(verdictOf('expired', { attempts: [], job: { expires: T } })).toBe(0)
    expect(verdictOf('expired', { attempts: [] })).toBe(1)
    expect(verdictOf('poison', { attempts: lost })).toBe(0)
    expect(verdictOf('poison', { attempts: lost.slice(1) })).toBe(1)
    expect(verdictOf('address_forbidden', { attempts })).toBe(1)
  })

  test('a job that should tell of its end tells once', () => {
    const parent = story({ job: { wants_callback: true } })
    expect(faultsOf(judge([parent]))).toEqual(['callback_missing'])
    const job = { send: null, callback_of: parent.jobs[0]?.id ?? '' }
    const about = { about: parent.jobs[0]?.id ?? '', callback: true }
    const callback = () => story({ send: null, job, requests: [about] })
    expect(faultsOf(judge([parent, callback()]))).toEqual([])
    expect(faultsOf(judge([parent, callback(), callback()]))).toContain('callback_missing')
  })
})

describe('timelines', () => {
  test('a missing end, a second end and a retry that nobody told of are found', () => {
    expect(faultsOf(judge([story({ events: { 'job.queued': 1 } })]))).toEqual(['event_missing'])
    const twice = { 'job.queued': 1, 'job.succeeded': 1, 'job.cancelled': 1 }
    expect(faultsOf(judge([story({ events: twice })]))).toEqual(['event_missing'])
    const attempts = [
      { outcome: 'retry', error: 'http_5xx' },
      { started: T + 200, ended: T + 300 },
    ] as const
    const requests = [
      { status: 500, effect: false },
      { start: T + 210, end: T + 290 },
    ]
    expect(faultsOf(judge([story({ attempts, requests })]))).toEqual(['event_missing'])
    const events = { 'job.scheduled': 1, 'job.retry_scheduled': 1, 'job.succeeded': 1 }
    expect(faultsOf(judge([story({ attempts, requests, events })]))).toEqual([])
  })

  test('a rescue that ends the job tells the end instead of the rescue', () => {
    const told: Told = {
      job: { state: 'cancelled' },
      attempts: [{ outcome: 'lost', error: 'worker_lost' }],
      events: { 'job.queued': 1, 'job.cancelled': 1 },
    }
    expect(faultsOf(judge([story(told)], { troubles: [KILL] }))).toEqual([])
  })
})

describe('effects', () => {
  test('another key on a later attempt is found', () => {
    const told = {
      ...TAKEN_OVER,
      requests: [
        { key: 'a', status: null },
        { key: 'b', start: T + 20_010, end: T + 20_090 },
      ],
    }
    expect(faultsOf(judge([story(told)], { troubles: [KILL] }))).toEqual(['key_changed'])
  })

  test('a repeated effect has the cause that befell its worker, and none when nothing did', () => {
    const killed = judge([story(TAKEN_OVER)], { troubles: [KILL] })
    expect(faultsOf(killed)).toEqual([])
    expect(killed.effects.duplicates).toMatchObject({ kill: 1, unexplained: 0 })
    const elsewhere = judge([story(TAKEN_OVER)], { troubles: [{ ...KILL, target: 'worker-3' }] })
    expect(faultsOf(elsewhere)).toEqual(['unexplained'])
  })

  test('a dropped answer explains a repeat, a second run after the end is never explained', () => {
    const dropped: Told = {
      attempts: [
        { outcome: 'retry', error: 'reset' },
        { started: T + 200, ended: T + 300 },
      ],
      requests: [{ status: null }, { start: T + 210, end: T + 290 }],
      events: { 'job.queued': 1, 'job.retry_scheduled': 1, 'job.succeeded': 1 },
    }
    const verdict = judge([story(dropped)])
    expect(faultsOf(verdict)).toEqual([])
    expect(verdict.effects.duplicates).toMatchObject({ lost_answer: 1 })
    const again: Told = {
      attempts: [{}, { started: T + 200, ended: T + 300 }],
      requests: [{}, { start: T + 210, end: T + 290 }],
    }
    expect(faultsOf(judge([story(again)], { troubles: [KILL] }))).toEqual(['unexplained'])
  })

  test('one attempt that is sent twice is not explained', () => {
    const told = { requests: [{ token: 'x' }, { token: 'x', start: T + 20 }] }
    expect(faultsOf(judge([story(told)]))).toEqual(['unexplained'])
  })

  test('a request that the way to the sink held back may come when its lease has been cancelled', () => {
    const told: Told = {
      job: { state: 'cancelled' },
      attempts: [{ outcome: 'cancelled' }],
      requests: [{ start: T + 500, end: T + 600, status: null }],
      events: { 'job.queued': 1, 'job.cancelled': 1 },
    }
    const stall: Trouble = { kind: 'stall', target: 'workers>sink', from: T - 50, to: T + 490 }
    expect(faultsOf(judge([story(told)], { troubles: [stall] }))).toEqual([])
    expect(faultsOf(judge([story(told)], { troubles: [{ ...stall, to: T - 10 }] }))).toEqual(['unaccounted'])
  })

  test('a request without an attempt, and one without a job', () => {
    const late = { requests: [{}, { start: T + 5_000, end: T + 5_010, effect: false }] }
    expect(faultsOf(judge([story(late)]))).toEqual(['unaccounted'])
    expect(faultsOf(judge([story({ send: null, job: null, events: {} })]))).toEqual(['unaccounted'])
  })
})

describe('leases', () => {
  test('done before its own request was answered means that somebody else ended it', () => {
    // Worker 1 came back and ended what worker 2 was doing, which was answered a second later.
    const told: Told = {
      ...TAKEN_OVER,
      requests: [{ status: 200 }, { start: T + 20_010, end: T + 21_090 }],
    }
    expect(faultsOf(judge([story(told)], { troubles: [KILL] }))).toEqual(['stranger'])
  })

  test('two leases of one job at once', () => {
    const told: Told = {
      ...TAKEN_OVER,
      attempts: [
        { outcome: 'lost', error: 'worker_lost', ended: T + 20_050 },
        { node: 'node-2', started: T + 20_000, ended: T + 20_100 },
      ],
    }
    expect(faultsOf(judge([story(told)], { troubles: [KILL] }))).toContain('stranger')
  })
})

describe('caps', () => {
  const caps = [{ tenant: TENANT, connector: 'ledger', max: 1 }]

  test('two leases at once are one too many, one after the other are not', () => {
    expect(faultsOf(judge([story(), story()], { caps }))).toEqual(['over_cap'])
    const after: Told = {
      attempts: [{ started: T + 100, ended: T + 200 }],
      requests: [{ start: T + 110, end: T + 190 }],
    }
    expect(faultsOf(judge([story(), story(after)], { caps }))).toEqual([])
    const elsewhere = story({ job: { connector: 'mailer' } })
    expect(faultsOf(judge([story(), elsewhere], { caps }))).toEqual([])
    expect(
      faultsOf(judge([story(), elsewhere], { caps: [{ tenant: TENANT, connector: null, max: 1 }] })),
    ).toEqual(['over_cap'])
  })

  test('an effect that outlives its lease takes no place', () => {
    const orphan: Told = {
      ...TAKEN_OVER,
      requests: [{ end: T + 30_000 }, { start: T + 20_010, end: T + 20_090 }],
    }
    const pause: Trouble = { kind: 'pause', target: 'worker-1', from: T + 50, to: T + 25_000 }
    const verdict = judge([story(orphan)], { caps, troubles: [pause] })
    expect(faultsOf(verdict)).toEqual([])
    expect(verdict.caps).toMatchObject([{ cap: 1, leases: 1, effects: 1, withOrphans: 2 }])
  })

  test('what a worker that had lost the job sends belongs to none of the later leases', () => {
    // Paused between claim and request: it sends when it is back, while worker 2 is at the same job.
    const late: Told = {
      ...TAKEN_OVER,
      requests: [
        { start: T + 20_010, end: T + 20_090 },
        { start: T + 20_020, end: T + 20_300 },
      ],
    }
    const pause: Trouble = { kind: 'pause', target: 'worker-1', from: T + 5, to: T + 20_020 }
    const verdict = judge([story(late)], { caps, troubles: [pause] })
    expect(faultsOf(verdict)).toEqual([])
    expect(verdict.caps).toMatchObject([{ cap: 1, leases: 1, effects: 1, withOrphans: 2 }])
    expect(verdict.effects.duplicates).toMatchObject({ pause: 1, unexplained: 0 })
    // Nobody had lost it: then one lease has sent two things.
    const twice = story({ requests: [{}, { start: T + 20, end: T + 95 }] })
    expect(faultsOf(judge([twice], { caps }))).toEqual(['unexplained', 'unaccounted'])
  })

  test('intervals that touch do not overlap', () => {
    expect(mostAtOnce([])).toBe(0)
    expect(
      mostAtOnce([
        { from: 1, to: 2 },
        { from: 2, to: 3 },
        { from: 2, to: 2 },
      ]),
    ).toBe(1)
    expect(
      mostAtOnce([
        { from: 1, to: 4 },
        { from: 2, to: 5 },
        { from: 3, to: 4 },
      ]),
    ).toBe(3)
  })
})

test('a takeover lasts from the kill to the next start; other ends of a lease are none', () => {
  const verdict = judge([story(TAKEN_OVER), story()], { troubles: [KILL] })
  const once = (ms: number) => ({ count: 1, p50: ms, p99: ms, max: ms })
  const never = { count: 0, p50: null, p99: null, max: null }
  expect(verdict.takeover).toEqual({
    ...{ kills: 1, rescued: once(17_950), started: once(19_950), startedUnderCap: never },
  })
  const caps = [{ tenant: TENANT, connector: null, max: 5 }]
  const capped = judge([story(TAKEN_OVER)], { troubles: [KILL], caps })
  expect(capped.takeover).toMatchObject({ started: never, startedUnderCap: once(19_950) })
  expect(percentile([4, 1, 3, 2], 0.5)).toBe(2)
  expect(percentile([4, 1, 3, 2], 0.99)).toBe(4)
  expect(percentile([], 0.5)).toBeNull()
})

test('a lease that was seen and left no attempt is a claim whose answer was lost', () => {
  const seen = story()
  const { job = '', lease = 0 } = seen.attempts[0] ?? {}
  const known = { lease, job, node: 'node-1', started: T, seen: T + 50 }
  const lost = { ...known, lease: 999, started: T - 9_000, seen: T - 2_000 }
  const verdict = judge([seen], { leases: [known, lost] })
  expect(verdict.lostClaims).toMatchObject({ count: 1, max: 7_000 })
  expect(verdict.sound).toBe(true)
})

test('an attempt that starts after its job has expired is a fault', () => {
  expect(faultsOf(judge([story({ job: { expires: T - 2_000 } })]))).toEqual(['late'])
  expect(faultsOf(judge([story({ job: { expires: T + 50 } })]))).toEqual([])
})

test('a process that ended by itself is a fault', () => {
  const crash: Trouble = { kind: 'crash', target: 'worker-1', from: T, to: T }
  expect(faultsOf(judge([story()], { troubles: [crash] }))).toEqual(['crashed'])
})
