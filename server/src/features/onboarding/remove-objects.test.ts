/** What a verification takes away, and how it does where the hub refuses the short way. */
import { expect, test } from 'vitest'
import type { PlaneCall, PlaneClient } from './plane-client.ts'
import type { Document } from './plane-documents.ts'
import { removeStageObjects } from './remove-objects.ts'
import { CONNECTORS } from './stage-names.ts'

const RUN = '01990000-0000-7000-8000-0123456789ab'
const OTHER = '01990000-0000-7000-8000-ba9876543210'
const connector = (run: string) => ({ kind: 'http', settings: { base_url: `http://t/runs/${run}` } })
const documentOf = (run: string): Document => ({
  policies: { default: {}, 'verify-hasty': {}, 'orch-verify-hasty': {}, 'orch-verify-mine': {} },
  connectors: {
    'verify-email': connector('mine'),
    [CONNECTORS.plain]: connector(run),
    [CONNECTORS.once]: connector(run),
  },
})
const LISTS: Record<string, object[]> = {
  '/webhook-routes': [
    { id: 'ours', connector: CONNECTORS.callback, account: `acct_verify_${RUN.replaceAll('-', '')}` },
    { id: 'theirs', connector: CONNECTORS.callback, account: `acct_verify_${OTHER.replaceAll('-', '')}` },
    { id: 'product-1', connector: 'verify-email', account: 'acct_verify_1' },
    { id: 'product-2', connector: CONNECTORS.callback, account: 'acct_product' },
  ],
  '/secret-refs': [
    'verify-token',
    'orch-verify-signing-0123456789ab',
    'orch-verify-webhook-ba9876543210',
    'orch-verify-signing-mine',
  ].map((name) => ({ name })),
  '/dlq/default': [],
}

/** A control process with these objects; `refuses` = calls that it answers with a refusal. */
function plane(document: Document, refuses?: RegExp) {
  const changes: string[] = []
  let stored: unknown
  const call: PlaneClient['call'] = async <Body>(path: string, { method, body }: PlaneCall = {}) => {
    const [at = ''] = path.split('?')
    const verb = method ?? (body === undefined ? 'GET' : 'POST')
    const answer = (status: number, said: unknown) => ({ status, headers: new Headers(), body: said as Body })
    if (verb === 'GET' && at === '/configs/active') return answer(200, { document, version: 7 })
    if (verb === 'GET') return answer(200, { data: LISTS[at] ?? [], next_cursor: null })
    if (refuses?.test(`${verb} ${at}`))
      return answer(422, { code: 'config_invalid', detail: 'A secret is lost.' })
    if (at === '/configs') stored = (body as { document: unknown }).document
    changes.push(`${verb} ${at}`)
    return answer(at === '/configs' ? 201 : 200, { version: 8 })
  }
  const control: PlaneClient = {
    call,
    want: async <Body>(path: string, options?: PlaneCall) => {
      const { status, body } = await call<Body>(path, options)
      if (status >= 300) throw new Error(`${path} ${status}`)
      return body
    },
  }
  return { control, changes, stored: () => stored as Document }
}

test('of a run only what carries its id is taken away, by exact names', async () => {
  const { control, changes, stored } = plane(documentOf(RUN))
  await removeStageObjects(control, { reason: 'a', runId: RUN })
  expect(changes).toEqual([
    'DELETE /webhook-routes/ours',
    'POST /configs',
    'POST /configs/activate',
    'DELETE /secret-refs/orch-verify-signing-0123456789ab',
  ])
  expect(Object.keys(stored().connectors)).toEqual(['verify-email'])
  expect(Object.keys(stored().policies)).toEqual(['default', 'verify-hasty', 'orch-verify-mine'])
})

test('what a successor has made of the same names is left alone', async () => {
  const { control, changes } = plane(documentOf(OTHER))
  await removeStageObjects(control, { reason: 'a', runId: RUN, step: { before: 6, made: 7 } })
  expect(changes).toEqual([
    'DELETE /webhook-routes/ours',
    'DELETE /secret-refs/orch-verify-signing-0123456789ab',
  ])
})

test('of all runs everything that only a run can have made', async () => {
  const { control, changes } = plane(documentOf(OTHER))
  await removeStageObjects(control, { reason: 'a' })
  expect(changes.filter((change) => change.startsWith('DELETE'))).toEqual([
    'DELETE /webhook-routes/ours',
    'DELETE /webhook-routes/theirs',
    'DELETE /secret-refs/orch-verify-signing-0123456789ab',
    'DELETE /secret-refs/orch-verify-webhook-ba9876543210',
  ])
})

test('while nobody has changed anything since, the way back is a rollback', async () => {
  const { control, changes } = plane(documentOf(RUN))
  await removeStageObjects(control, { reason: 'a', runId: RUN, step: { before: 6, made: 7 } })
  expect(changes).toContain('POST /configs/rollback')
  expect(changes).not.toContain('POST /configs')
})

test('where a secret of the product is lost, objects go one by one by their names', async () => {
  const { control, changes } = plane(documentOf(RUN), /rollback|activate|POST \/configs$/)
  await removeStageObjects(control, { reason: 'a', runId: RUN, step: { before: 6, made: 7 } })
  expect(changes.slice(1, 4)).toEqual([
    `DELETE /connectors/${CONNECTORS.plain}`,
    `DELETE /connectors/${CONNECTORS.once}`,
    'DELETE /policies/orch-verify-hasty',
  ])
})

test('what cannot be taken away keeps nothing else from it, and is told', async () => {
  const { control, changes } = plane(documentOf(RUN), /webhook-routes/)
  await expect(removeStageObjects(control, { reason: 'a', runId: RUN })).rejects.toThrow(/webhook-routes/)
  expect(changes).toContain('DELETE /secret-refs/orch-verify-signing-0123456789ab')
})
