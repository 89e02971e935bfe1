import type { Check } from '../check.ts'
import { eventually } from '../eventually.ts'
import { told } from '../plane-client.ts'
import { activeDocument, type DocumentConnector, everything } from '../plane-documents.ts'
import { part, type Stage } from '../stage.ts'
import { isProductConnector } from '../stage-names.ts'
import { mustBe, notApplicable, passed } from '../verdict.ts'

async function ownConnectors({ control }: Stage): Promise<[string, DocumentConnector][]> {
  const { document } = await activeDocument(control)
  return Object.entries(document.connectors).filter(([name]) => isProductConnector(name))
}

const NONE = 'The workspace has no connectors yet.'
/** Where a value comes from that the workspace has decided itself. */
const DECIDED = ['workspace', 'connector', 'operation']

interface Effective {
  readonly policy?: { readonly timeouts?: object }
  readonly sources?: Readonly<Record<string, string>>
}

/** Every connector of the product has its policy decided and every secret that its kind needs. */
export const connectors: Check = {
  name: 'connectors',
  proves: 'Every connector has a policy of the workspace in force and every secret ref that it names.',
  mend: 'PUT /connectors/NAME with a policy of the config, or give the policy `default` its values.',
  needs: ['policy'],
  run: async (stage) => {
    const { control } = stage
    const own = await ownConnectors(stage)
    if (own.length === 0) return notApplicable(NONE)
    const refs = new Set(
      (await everything<{ name: string }>(control, '/secret-refs')).map(({ name }) => name),
    )
    for (const [name, { secrets = {} }] of own) {
      const missing = Object.values(secrets).filter((ref) => !refs.has(ref))
      mustBe(
        missing.length === 0,
        `The connector ${name} names secret refs that do not exist: ${missing.join(', ')}.`,
        `PUT /secret-refs/${missing[0]} says where the value is.`,
      )
      const { status, body } = await control.call<Effective>(
        `/policies/effective?connector=${encodeURIComponent(name)}`,
      )
      mustBe(
        status === 200 && body.policy?.timeouts !== undefined,
        `The connector ${name} has no policy in force (${status}).`,
      )
      mustBe(
        Object.values(body.sources ?? {}).some((source) => DECIDED.includes(source)),
        `No policy of the workspace decides anything for the connector ${name}: every value is the hub’s own.`,
      )
    }
    const secrets = own.flatMap(([, connector]) => Object.values(connector.secrets ?? {}))
    return passed(`connectors: ${own.length}, secret refs: ${new Set(secrets).size}`)
  },
}

const WITHIN_MS = 5_000

/** A dry run goes through config, policy, secrets and addresses of exec, and sends nothing. */
export const connectorsCallable: Check = {
  name: 'connectors-callable',
  proves: 'Exec can carry out an operation of every connector kind in use, short of sending it.',
  mend: 'See what exec answered: POST /execute with `options.dry_run`; exec must see the secrets that control sees.',
  needs: ['policy', 'secrets', 'tokens'],
  run: async (stage) => {
    const tried = new Map<string, string>()
    for (const [name, { kind }] of await ownConnectors(stage)) {
      if (tried.has(kind)) continue
      const { operations } = await stage.control.want<{ operations: { name: string }[] }>(
        `/connectors/${encodeURIComponent(name)}`,
      )
      const operation = operations[0]?.name
      if (operation === undefined) continue
      await dryRun(stage, name, operation)
      tried.set(kind, `${name}/${operation}`)
    }
    if (tried.size === 0) return notApplicable('The workspace has no connector with an operation yet.')
    return passed(`dry runs, nothing sent: ${[...tried.values()].join(', ')}`)
  },
}

/** With an empty input: an operation that wants another one has been found, with all that it needs. */
const dryRun = (stage: Stage, connector: string, operation: string): Promise<true> =>
  eventually(
    { clock: stage.clock, signal: stage.signal, withinMs: WITHIN_MS },
    `Exec could not carry out ${operation} of the connector ${connector}`,
    async () => {
      const { status, body } = await part(stage, 'exec').call<{ served_from?: string; code?: string }>(
        '/execute',
        { body: { connector, operation, input: {}, options: { dry_run: true } } },
      )
      if ((status === 200 && body.served_from === 'dry_run') || body.code === 'input_invalid')
        return { found: true }
      return { seen: `${status} ${told(body)}` }
    },
  )
