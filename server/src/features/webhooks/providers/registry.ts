import type { AnyProvider } from '../provider.ts'
import { stripe } from './stripe.ts'

/** Every webhook provider. The contract test runs over this list and fails on a file that is not in it. */
const REGISTERED: readonly AnyProvider[] = [stripe]

/** By name: the path `/webhooks/:provider`. A Map, so that `constructor` is not a provider. */
export const PROVIDERS: ReadonlyMap<string, AnyProvider> = new Map(
  REGISTERED.map((provider) => [provider.name, provider]),
)
