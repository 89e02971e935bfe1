import { type PlaneClient, refusal, told } from './plane-client.ts'
import { activeDocument, changeDocument, type Document, everything, type Step } from './plane-documents.ts'
import { belongings, CONNECTORS, type NamedRoute } from './stage-names.ts'

interface Removal {
  readonly reason: string
  /** Only what carries the id of this run; absent = what any run has left. */
  readonly runId?: string
  /** What the run has made of the config: while it is active still, the way back is the version before. */
  readonly step?: Step | undefined
}

/**
 * Takes away what a run, or all of them, have added. What cannot be removed keeps nothing else from it; the first
 * failure is thrown at the end.
 */
export async function removeStageObjects(control: PlaneClient, removal: Removal): Promise<void> {
  const { reason, runId, step } = removal
  const mine = belongings(runId)
  const because = `reason=${encodeURIComponent(reason)}`
  const failures: unknown[] = []
  const attempt = async (work: () => Promise<unknown>): Promise<void> => {
    await work().catch((error: unknown) => failures.push(error))
  }
  const deleteAll = async <Item>(
    path: string,
    own: (item: Item) => boolean,
    key: (item: Item) => string,
    more = '',
  ) => {
    for (const item of (await everything<Item>(control, path)).filter(own))
      await attempt(() => control.want(`${path}/${key(item)}?${because}${more}`, { method: 'DELETE' }))
  }

  await attempt(async () => {
    const once = (await activeDocument(control)).document.connectors[CONNECTORS.once]
    if (runId === undefined || mine.connector(CONNECTORS.once, once ?? ''))
      await purgeLetters(control, reason)
  })
  // Before the connector that they deliver to.
  await attempt(() => deleteAll<NamedRoute>('/webhook-routes', mine.route, ({ id }) => id, '&held=deliver'))
  await attempt(() => removeFromConfig(control, mine, reason, step))
  await attempt(() =>
    deleteAll<{ name: string }>(
      '/secret-refs',
      ({ name }) => mine.secret(name),
      ({ name }) => name,
    ),
  )
  if (failures.length > 0) throw failures[0]
}

type Mine = ReturnType<typeof belongings>

/** Names of ours in a config. Policies have no id of a run: while a connector of another run is there, they are its. */
function namesIn(document: Document, mine: Mine): { connectors: string[]; policies: string[] } {
  const any = belongings()
  const all = Object.keys(document.connectors).filter((name) => any.connector(name, ''))
  const connectors = all.filter((name) => mine.connector(name, document.connectors[name]))
  const policies = connectors.length < all.length ? [] : Object.keys(document.policies).filter(mine.policy)
  return { connectors, policies }
}

const without = <Value>(members: Readonly<Record<string, Value>>, names: readonly string[]) =>
  Object.fromEntries(Object.entries(members).filter(([name]) => !names.includes(name)))

/**
 * Back to the version before the run where nobody has changed anything since; else by an edit of the active one, and
 * where something else of it does not hold any more, object by object: such an edit is checked for what it touches.
 */
async function removeFromConfig(
  control: PlaneClient,
  mine: Mine,
  reason: string,
  step: Step | undefined,
): Promise<void> {
  const { document, version } = await activeDocument(control)
  const names = namesIn(document, mine)
  if (names.connectors.length + names.policies.length === 0) return
  if (step?.before !== undefined && step.made === version) {
    const headers = { 'if-match': `"${version}"` }
    const back = await control.call('/configs/rollback', { body: { to: step.before, reason }, headers })
    if (back.status === 200) return
  }
  try {
    await changeDocument(control, reason, (own) => {
      const ours = namesIn(own, mine)
      return {
        ...own,
        policies: without(own.policies, ours.policies),
        connectors: without(own.connectors, ours.connectors),
      }
    })
  } catch {
    await removeOneByOne(control, names, reason)
  }
}

async function removeOneByOne(
  control: PlaneClient,
  names: ReturnType<typeof namesIn>,
  reason: string,
): Promise<void> {
  const paths = [
    ...names.connectors.map((name) => `/connectors/${name}`),
    ...names.policies.map((name) => `/policies/${name}`),
  ]
  for (const path of paths) {
    const answer = await control.call(`${path}?reason=${encodeURIComponent(reason)}`, {
      method: 'DELETE',
      headers: { 'if-match': '*' },
    })
    if (answer.status >= 300 && answer.status !== 404)
      throw refusal(
        answer,
        `${path} of a verification could not be removed: ${told(answer.body)}`,
        'Mend what the refusal names, then run the verification again: it takes away what is left.',
      )
  }
}

/** Letters of a run that failed half-way go into the bin; without a worker they wait for one. */
async function purgeLetters(control: PlaneClient, reason: string): Promise<void> {
  const filter = { connector: CONNECTORS.once }
  const { data } = await control.want<{ data: unknown[] }>(
    `/dlq/default?connector=${filter.connector}&limit=1`,
  )
  if (data.length === 0) return
  const plan = await control.want<{ plan_id: string }>('/dlq/default/plans', {
    body: { action: 'purge', filter },
  })
  await control.want(`/dlq/plans/${plan.plan_id}/commit`, { body: { reason } })
}
