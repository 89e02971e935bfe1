import type { Secret } from '../../../platform/secret.ts'
import type { Check } from '../check.ts'
import { everything } from '../plane-documents.ts'
import type { Stage } from '../stage.ts'
import { isProductSecret } from '../stage-names.ts'
import { type Needle, type SearchResult, SHORTEST_NEEDLE } from '../text-search.ts'
import { mustBe, notApplicable, passed } from '../verdict.ts'

interface OwnSecret {
  readonly name: string
  /** A sentence: there is none. */
  readonly values: readonly Secret[] | string
}

async function ownSecrets(stage: Stage): Promise<OwnSecret[]> {
  const refs = await everything<{ name: string; ref: string }>(stage.control, '/secret-refs')
  const own = refs.filter(({ name }) => isProductSecret(name))
  return Promise.all(
    own.map(async ({ name, ref }) => {
      const found = await stage.readSecret(ref)
      return {
        name,
        values: 'why' in found ? `The secret ref ${name} (${ref}) does not resolve: ${found.why}.` : found,
      }
    }),
  )
}

export const secretsResolve: Check = {
  name: 'secrets-resolve',
  proves: 'Every secret ref of the workspace leads to a value.',
  mend: 'Put the value where the ref says it is, or point the ref elsewhere: PUT /secret-refs/NAME.',
  gives: 'secrets',
  run: async (stage) => {
    const secrets = await ownSecrets(stage)
    if (secrets.length === 0) return passed('the workspace has no secret refs')
    const lost = secrets.filter(({ values }) => typeof values === 'string')
    mustBe(lost.length === 0, lost.map(({ values }) => String(values)).join(' '))
    return passed(`${secrets.length} secret refs, seen from the control process`)
  },
}

async function needlesOf(stage: Stage): Promise<{ needles: Needle[]; short: string[] }> {
  const needles: Needle[] = []
  const short: string[] = []
  for (const { name, values } of await ownSecrets(stage))
    for (const value of typeof values === 'string' ? [] : values) {
      if (value.reveal().length < SHORTEST_NEEDLE) short.push(name)
      else needles.push({ name, value })
    }
  return { needles, short }
}

const nowhere = (
  of: Pick<Check, 'name' | 'proves' | 'mend'>,
  search: (stage: Stage, needles: readonly Needle[]) => Promise<SearchResult | undefined>,
  elsewhere: string,
): Check => ({
  ...of,
  run: async (stage) => {
    const { needles, short } = await needlesOf(stage)
    if (needles.length === 0)
      return notApplicable('No secret of the workspace has a value that could be looked for.')
    const result = await search(stage, needles)
    if (!result) return notApplicable(elsewhere)
    const [hit] = result.hits
    mustBe(
      hit === undefined,
      result.hits.map(({ name, place }) => `The value of ${name} stands in ${place}.`).join(' '),
    )
    const limits = [
      ...result.left.map((place) => `not looked at to its end: ${place}`),
      ...short.map((name) => `too short to be looked for: ${name}`),
    ]
    const looked = `${needles.length} values in ${Math.ceil(result.looked / 1024)} KiB of text`
    return passed([looked, ...limits].join('; '))
  },
})

export const secretsNotInDatabase = nowhere(
  {
    name: 'secrets-not-in-database',
    proves: 'No value of a secret stands in any row of the workspace.',
    mend: 'Rotate the secret; then find which input or answer carried it, and name it as a secret of its connector.',
  },
  ({ search, subject }, needles) => search.database(subject.tenantId, needles),
  '',
)

export const secretsNotInLog = nowhere(
  {
    name: 'secrets-not-in-log',
    proves: 'No value of a secret stands in the log.',
    mend: 'Rotate the secret, remove the lines from the log, and report how they came there.',
  },
  ({ search }, needles) => search.log(needles),
  'The log does not go to a file that the control process can read; look for the values where it is collected.',
)
