/** Tokens end within 5 s of the revocation on every node, also on one that hears no NOTIFY. */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { emptyDatabase } from '../server/testing/database.ts'
import { openSse } from '../server/testing/sse-client.ts'
import { type TcpRelay, tcpRelay } from '../server/testing/tcp-relay.ts'
import { call } from './hub-client.ts'
import {
  freePorts,
  type HubHome,
  hubHome,
  type RunningCommand,
  type RunningHub,
  startHub,
  startRole,
} from './hub-process.ts'

/** What the issue promises. */
const WITHIN = { timeout: 5_000, interval: 50 }
const reason = 'a test'

describe('an identity of two nodes', () => {
  let database: { readonly url: string; drop(): Promise<void> }
  let relay: TcpRelay
  let home: HubHome
  let hub: RunningHub
  let second: RunningCommand
  let nodes: readonly string[]
  beforeAll(async () => {
    database = await emptyDatabase()
    relay = await tcpRelay(database.url)
    home = await hubHome({ DATABASE_URL: database.url, DEMO_WORKSPACES: 'true', LIMITS: 'per-node' })
    hub = await startHub(home)
    const [port] = await freePorts(1)
    const other = home.with({ EXEC_PORT: String(port), DATABASE_URL: relay.url })
    second = await startRole(other, 'exec')
    nodes = [home.urls.exec, other.urls.exec]
  })
  afterAll(async () => {
    await second?.stop()
    await hub?.stop()
    await home?.remove()
    await relay?.close()
    await database?.drop()
  })

  const control = async <Body = Record<string, unknown>>(path: string, body: object): Promise<Body> => {
    const answer = await call<Body>(`${home.urls.control}${path}`, {
      token: hub.tokens.control,
      body: { ...body, reason },
    })
    if (answer.status >= 300) throw new Error(JSON.stringify(answer.body))
    return answer.body
  }
  const create = async (name: string) => {
    const scopes = ['orchestrator.jobs.read', 'orchestrator.events.read']
    const made = await control<{ id: string; client_secret: string }>('/identities', { name, scopes })
    return { id: made.id, secret: made.client_secret }
  }
  const tokenOf = async ({ id, secret }: { id: string; secret: string }): Promise<string> => {
    const answer = await fetch(`${home.urls.exec}/oauth/token`, {
      method: 'POST',
      body: new URLSearchParams({ grant_type: 'client_credentials', client_id: id, client_secret: secret }),
    })
    return ((await answer.json()) as { access_token: string }).access_token
  }
  const statuses = (token: string) =>
    Promise.all(nodes.map(async (url) => (await call(`${url}/jobs`, { token })).status))
  const untilEnded = (token: string) =>
    vi.waitFor(async () => expect(await statuses(token)).toEqual([401, 401]), WITHIN)

  test.each([
    ['by NOTIFY', () => undefined],
    [
      'by the poll alone, when one of them hears nothing',
      () => expect(relay.deafen('notifications')).toBe(1),
    ],
  ])(
    'is gone from both %s: its tokens and its streams; its successor of the same name stays',
    async (how, prepare) => {
      const name = `svc:leaving-${how.length}`
      const identity = await create(name)
      const old = await tokenOf(identity)
      expect(await statuses(old)).toEqual([200, 200])
      prepare()
      const streams = await Promise.all(
        nodes.map((url) => openSse(`${url}/events/stream`, { authorization: `Bearer ${old}` })),
      )
      await control(`/identities/${identity.id}/revoke`, {})
      const successor = await tokenOf(await create(name))
      await untilEnded(old)
      for (const stream of streams) {
        await vi.waitFor(() => expect(stream.ended()).toBe(true), WITHIN)
        expect(stream.events.at(-1)).toMatchObject({ event: 'end', data: '{"reason":"token_ended"}' })
      }
      expect(await statuses(successor)).toEqual([200, 200])
    },
  )

  test('whose secret leaked gets another, and what the old one got has ended', async () => {
    const identity = await create('svc:leaked')
    const old = await tokenOf(identity)
    const { client_secret: secret } = await control<{ client_secret: string }>(
      `/identities/${identity.id}/rotate-secret`,
      { overlap_seconds: 0, end_tokens: true },
    )
    await untilEnded(old)
    expect(await statuses(await tokenOf({ id: identity.id, secret }))).toEqual([200, 200])
  })
})
