import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { type TestDatabase, testDatabase, testPlatform } from '../../../testing/database.ts'
import { manualClock } from '../../../testing/manual-clock.ts'
import { tcpRelay } from '../../../testing/tcp-relay.ts'
import type { Clock } from '../../platform/clock.ts'
import { run } from '../../platform/db/statement.ts'
import { newId } from '../../platform/ids.ts'
import { createEndedTokens, type EndedTokens, endTokens, type TokensToEnd } from './ended-tokens.ts'

const NEVER_MS = 2_000_000_000

let database: TestDatabase
const opened: EndedTokens[] = []

beforeAll(async () => {
  database = await testDatabase()
})
afterEach(() => {
  for (const ended of opened.splice(0)) ended.close()
})
afterAll(() => database.drop())

/** A process that hears hints and never polls, unless told otherwise. */
function node(
  options: {
    pollMs?: number
    cleaningMs?: number
    deaf?: boolean
    clock?: Clock
    platform?: TestDatabase['platform']
  } = {},
) {
  const { db, notifications, log, clock } = options.platform ?? database.platform
  const ended = createEndedTokens({
    db,
    log,
    clock: options.clock ?? clock,
    notifications: options.deaf ? { listen: () => () => undefined } : notifications,
    pollMs: options.pollMs ?? NEVER_MS,
    cleaningMs: options.cleaningMs ?? NEVER_MS,
  })
  opened.push(ended)
  return ended
}

const end = (tokens: TokensToEnd) => database.db.transaction((tx) => endTokens(tx, tokens))

const A = newId()
const B = newId()
let made = 0
/** The facts of a living token. */
const token = (changes: object = {}) => ({
  tenantId: A,
  subject: `svc:product-${++made}`,
  tokenId: newId(),
  issuedAt: Date.now() - 2_000,
  ...changes,
})

describe('ended tokens', () => {
  it.each([
    ['a hint', {}],
    ['the poll, when hints are lost', { deaf: true, pollMs: 20 }],
  ])('are heard of by %s', async (_how, options) => {
    const ended = node(options)
    await ended.known()
    const mine = token()
    expect(ended.isEnded(mine)).toBe(false)
    await end({ tenantId: A, subject: mine.subject })
    await vi.waitFor(() => expect(ended.isEnded(mine)).toBe(true))
  })

  it('are known to a process that starts afterwards', async () => {
    const mine = token()
    await end({ tenantId: A, tokenId: mine.tokenId })
    const ended = node()
    await ended.known()
    expect(ended.isEnded(mine)).toBe(true)
  })

  it('end with the commit, not with a transaction that fails', async () => {
    const mine = token()
    const failing = database.db.transaction(async (tx) => {
      await endTokens(tx, { tenantId: A, subject: mine.subject })
      throw new Error('the change failed')
    })
    await expect(failing).rejects.toThrow('the change failed')
    const ended = node()
    await ended.known()
    expect(ended.isEnded(mine)).toBe(false)
  })

  it('of a subject are those issued until now, in this workspace, also while it impersonated others', async () => {
    const mine = token()
    const { subject } = mine
    await end({ tenantId: A, subject })
    const ended = node()
    await ended.known()
    expect(ended.isEnded(mine)).toBe(true)
    expect(ended.isEnded(token({ impersonator: subject }))).toBe(true)
    expect(ended.isEnded(token({ subject, issuedAt: Date.now() + 1_000 }))).toBe(false)
    expect(ended.isEnded(token({ subject, tenantId: B }))).toBe(false)
    expect(ended.isEnded(token())).toBe(false)
  })

  it('of a subject in no workspace are those in all of them', async () => {
    const mine = token()
    await end({ tenantId: '00000000-0000-0000-0000-000000000000', subject: mine.subject })
    const ended = node()
    await ended.known()
    expect(ended.isEnded(mine)).toBe(true)
    expect(ended.isEnded(token({ tenantId: B, impersonator: mine.subject }))).toBe(true)
    expect(ended.isEnded(token())).toBe(false)
  })

  it('of a session are all of it, whenever issued and in whatever workspace; of a token id that one', async () => {
    const sessionId = newId()
    const other = token()
    await end({ tenantId: A, sessionId })
    await end({ tenantId: A, tokenId: other.tokenId })
    const ended = node()
    await ended.known()
    expect(ended.isEnded(token({ sessionId, tenantId: B, issuedAt: Date.now() + 60_000 }))).toBe(true)
    expect(ended.isEnded(token({ sessionId: newId() }))).toBe(false)
    expect(ended.isEnded(other)).toBe(true)
    expect(ended.isEnded(token({ subject: other.subject }))).toBe(false)
  })

  it('of a whole workspace are those issued until now', async () => {
    const tenantId = newId()
    await end({ tenantId })
    const ended = node()
    await ended.known()
    expect(ended.isEnded(token({ tenantId }))).toBe(true)
    expect(ended.isEnded(token({ tenantId, issuedAt: Date.now() + 1_000 }))).toBe(false)
  })

  it('stay ended while the database is away; a process that never knew lets nobody in', async () => {
    const relay = await tcpRelay(database.url)
    const platform = testPlatform(relay.url)
    try {
      const mine = token()
      await end({ tenantId: A, subject: mine.subject })
      const ended = node({ platform, pollMs: 20 })
      await ended.known()
      await relay.cut()
      await expect(platform.db.execute({ name: 't.away', text: 'select 1' }, [])).rejects.toThrow()
      expect(ended.isEnded(mine)).toBe(true)
      expect(ended.isEnded(token())).toBe(false)
      const late = node({ platform })
      expect(() => late.isEnded(mine)).toThrow(expect.objectContaining({ code: 'database_unavailable' }))
      await expect(late.known()).rejects.toMatchObject({ code: 'database_unavailable' })
      const another = token()
      await end({ tenantId: A, subject: another.subject })
      await relay.mend()
      await vi.waitFor(() => expect(ended.isEnded(another)).toBe(true), { timeout: 10_000 })
    } finally {
      await platform.notifications.close()
      await platform.db.close()
      await relay.close()
    }
  })

  it('are forgotten once every token of then has expired, in memory and in the database', async () => {
    const clock = manualClock()
    await clock.advance(Date.now() - clock.now())
    const mine = token()
    await end({ tenantId: A, subject: mine.subject })
    const ended = node({ clock, pollMs: 10 })
    await ended.known()
    expect(ended.isEnded(mine)).toBe(true)
    await clock.advance(3_600_000)
    const heard = token()
    await end({ tenantId: A, tokenId: heard.tokenId })
    await vi.waitFor(() => expect(ended.isEnded(heard)).toBe(true))
    expect(ended.isEnded(mine)).toBe(true)

    // Also what comes later is read without it.
    const age = run<{ subject: string }>(
      't.age',
      `update ended_token set ended_at = now() - interval '2 hours' where subject = $1`,
      ({ subject }) => [subject],
    )
    await age(database.db, { subject: mine.subject })
    const rows = async () =>
      (
        await database.db.execute({ name: 't.rows', text: 'select from ended_token where subject = $1' }, [
          mine.subject,
        ])
      ).rowCount
    expect(await rows()).toBe(1)
    // As a process does it, with a process's rights.
    node({ clock, cleaningMs: 10 })
    await vi.waitFor(async () => expect(await rows()).toBe(0))
    await clock.advance(61_000)
    await vi.waitFor(() => expect(ended.isEnded(mine)).toBe(false))
  })
})
