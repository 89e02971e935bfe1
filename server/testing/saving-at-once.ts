import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { activeVersion, diffVersions } from '../src/features/configs/configs.ts'
import type { HttpServer } from '../src/platform/http/server.ts'
import { type CallingHub, callingHub } from './calling-hub.ts'
import type { Answer, CallServer } from './checked-answers.ts'

export interface Refused {
  readonly code: string
  readonly active_version: number
  readonly seen_version: number
  readonly differences: { path: string; before?: unknown; after?: unknown }[]
  readonly more_differences: number
  readonly detail: string
}

type Save = readonly [method: 'POST' | 'PUT', url: string, body: object]

export interface Saving {
  readonly hub: () => CallingHub
  /** The version that is active when a test begins. */
  readonly seen: () => number
  readonly send: (save: Save, ifMatch?: string) => Promise<Answer<Refused>>
}

export const policyOf = (total_ms: number) => ({ timeouts: { total_ms, attempt_ms: 1_000 } })
export const api = (path: string) => ({
  kind: 'http',
  settings: { base_url: 'https://api.example.com', operations: { get: { method: 'GET', path } } },
})
export const savedDocument = (path: string) => ({
  policies: { slow: policyOf(20_000) },
  connectors: { api: api(path) },
})

/**
 * What holds for every endpoint that replaces a part of the config: nothing of two changes at once is lost, and
 * nothing is replaced unseen. `save` gives one of two changes of the same thing.
 */
export function savingAtOnce(
  endpoint: string,
  addRoutes: (app: HttpServer, hub: CallingHub) => void,
  save: (hub: CallingHub, value: 1 | 2) => Promise<Save>,
): Saving {
  let hub: CallingHub
  let call: CallServer
  let seen: number
  let changes = 0

  beforeAll(async () => {
    hub = await callingHub('orchestrator-control')
    call = await hub.serve((app) => addRoutes(app, hub))
  })
  afterAll(() => hub.close())
  beforeEach(async () => {
    changes += 1
    seen = await hub.configure(savedDocument(`/before-${changes}`))
  })
  const send: Saving['send'] = async ([method, url, body], ifMatch) =>
    call<Refused>(method, url, await hub.access.bearer(hub.tenantId), {
      body: { ...body, reason: 'two at once' },
      ...(ifMatch !== undefined && { headers: { 'if-match': ifMatch } }),
    })

  describe(`two operators at once on ${endpoint}`, () => {
    test('one saves; the other is told what the first has changed, and loses nothing', async () => {
      const saves = [await save(hub, 1), await save(hub, 2)] as const
      const answers = await Promise.all(saves.map((each) => send(each, `"${seen}"`)))
      expect(answers.map(({ status }) => status).sort()).toEqual([200, 412])
      const refused = answers.find(({ status }) => status === 412)?.body
      expect(refused).toMatchObject({ code: 'version_mismatch', seen_version: seen, more_differences: 0 })
      const active = refused?.active_version ?? 0
      expect(refused?.differences).toEqual(await diffVersions(hub.database.db, hub.tenantId, seen, active))
      expect(refused?.differences.length).toBeGreaterThan(0)
      // With what it now knows, the second can save on top of the first.
      const second = saves[answers.findIndex(({ status }) => status === 412)] ?? saves[0]
      expect((await send(second, `"${active}"`)).status).toBe(200)
    })

    test('who says nothing about what it saw replaces nothing, and is shown what it would have', async () => {
      const answer = await send(await save(hub, 1))
      expect(answer).toMatchObject({
        status: 428,
        body: { code: 'precondition_required', active_version: seen },
      })
      expect(answer.body.differences.length).toBeGreaterThan(0)
      expect((await activeVersion(hub.database.db, hub.tenantId))?.version).toBe(seen)
      expect((await send(await save(hub, 1), '*')).status).toBe(200)
    })

    test.each([
      ['W/"1"', /weak tag/],
      ['"1", "2"', /is a list/],
      ['"one"', /must be a version/],
      ['', /must be a version/],
      ['"1', /must be a version/],
      ['99999999999', /must be a version/],
    ])('If-Match: %s is refused in words that help', async (ifMatch, words) => {
      const answer = await send(await save(hub, 1), ifMatch)
      expect(answer).toMatchObject({ status: 400, body: { code: 'validation_error' } })
      expect(answer.body.detail).toMatch(words)
    })
  })
  return { hub: () => hub, seen: () => seen, send }
}
