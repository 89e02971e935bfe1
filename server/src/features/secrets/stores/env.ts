import { type SecretStore, secretFrom } from './store.ts'

const PREFIX = 'ORCH_SECRET__'

/**
 * `env://STRIPE_KEY` of the workspace buildos-dev is the variable ORCH_SECRET__BUILDOS_DEV__STRIPE_KEY. The workspace
 * is part of the name, and a slug cannot hold an underscore: no ref reaches another workspace's variable.
 */
const variableOf = (slug: string, address: string): string =>
  `${PREFIX}${slug.toUpperCase().replaceAll('-', '_')}__${address}`

/** Environment variables, as they were when the process started. */
export const envStore: SecretStore = {
  scheme: 'env',
  addressRule: 'env://NAME with capital letters, digits and underscores',
  addressPattern: /^[A-Z][A-Z0-9_]{0,99}$/,
  open:
    ({ variables }) =>
    async ({ slug }, address) => {
      const variable = variableOf(slug, address)
      const value = variables.get(variable)
      return value === undefined
        ? { why: `the variable ${variable} is not set for this process` }
        : secretFrom(Buffer.from(value))
    },
}
