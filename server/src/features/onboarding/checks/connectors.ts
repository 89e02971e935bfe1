import type { Check } from '../check.ts'
import { activeDocument, everything, PREFIX } from '../stage-objects.ts'
import { mustBe, notApplicable, passed } from '../verdict.ts'

/** Every connector of the product has its policy decided and every secret that its kind needs. */
export const connectors: Check = {
  name: 'connectors',
  proves: 'Every connector has a policy in force and every secret ref that it names.',
  mend: 'PUT /connectors/NAME with a policy of the config and names of secret refs that exist.',
  run: async ({ control }) => {
    const { document } = await activeDocument(control)
    const own = Object.entries(document.connectors).filter(([name]) => !name.startsWith(PREFIX))
    if (own.length === 0) return notApplicable('The workspace has no connectors yet.')
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
      const effective = await control.call<{ policy?: { timeouts?: object; breaker?: object } }>(
        `/policies/effective?connector=${encodeURIComponent(name)}`,
      )
      mustBe(
        effective.status === 200 && effective.body.policy?.timeouts !== undefined,
        `The connector ${name} has no policy in force (${effective.status}).`,
      )
    }
    const secrets = own.flatMap(([, connector]) => Object.values(connector.secrets ?? {}))
    return passed(`${own.length} connectors, ${new Set(secrets).size} secret refs`)
  },
}
