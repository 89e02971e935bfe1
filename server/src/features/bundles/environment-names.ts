/** What has come along from the other environment by mistake: names, places of secrets, addresses. */
import { pointerPart } from '../../platform/json-pointer.ts'
import type { ProblemDetail } from '../../problems.ts'
import type { Bundle } from './bundles.schema.ts'

type Text = readonly [path: string, text: string]

/** Settings whose text says where something is. */
const ADDRESSES = /(?:^|_)(?:url|endpoint|host|bucket)$/

/**
 * Everything in which the other environment is a word of its own: `shop-prod`, `PROD_KEY` and `kv/prod/key` are of prod,
 * `production` and `products` are not.
 */
export function environmentFaults(environment: 'dev' | 'prod', bundle: Bundle): ProblemDetail[] {
  const other = environment === 'prod' ? 'dev' : 'prod'
  return textsOf(bundle)
    .filter(([, text]) =>
      text
        .toLowerCase()
        .split(/[^a-z0-9]+/)
        .includes(other),
    )
    .map(([path]) => ({
      path: `/body/bundle${path}`,
      message: `is a name of ${other}, and this workspace is of ${environment}`,
    }))
}

function textsOf({ config, secret_refs, webhook_routes }: Bundle): Text[] {
  return [
    ...Object.keys(config.policies).map((name): Text => [`/config/policies/${name}`, name]),
    ...Object.entries(config.connectors).flatMap(([name, { settings }]): Text[] => [
      [`/config/connectors/${name}`, name],
      ...addressesIn(settings, `/config/connectors/${name}/settings`),
    ]),
    ...secret_refs.flatMap(({ name, ref }, at): Text[] => [
      [`/secret_refs/${at}/name`, name],
      [`/secret_refs/${at}/ref`, ref],
    ]),
    ...webhook_routes.map(({ account }, at): Text => [`/webhook_routes/${at}/account`, account ?? '']),
  ]
}

function addressesIn(value: unknown, path: string): Text[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, member]): Text[] => {
    const at = `${path}/${pointerPart(key)}`
    return typeof member === 'string' && ADDRESSES.test(key)
      ? [[at, hostOf(member)]]
      : addressesIn(member, at)
  })
}

/** Only the host: what follows may be anybody's words. `.dev` is also a domain that everybody may have. */
const hostOf = (address: string): string =>
  (URL.canParse(address) ? new URL(address).hostname : address).replace(/(?<=\.)dev$/, '')
