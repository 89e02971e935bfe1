/** How workspaces are called (DESIGN D5): the environment is the end of the name, so that nobody mistakes one for the other. */
import { Problem } from '../../problems.ts'
import { isNeighbourSlug } from '../reserved-names/reserved-names.ts'
import type { Environment } from './workspaces.sql.ts'

export const SLUG_PATTERN = '^[a-z][a-z0-9]*(-[a-z0-9]+)*$'
export const SLUG_MAX_LENGTH = 40

const ENVIRONMENTS = ['dev', 'prod'] as const
/** Names that would be taken for the hub itself or for all workspaces, in paths, hosts and logs. */
const RESERVED: ReadonlySet<string> = new Set([
  ...[
    'admin',
    'all',
    'any',
    'api',
    'console',
    'control',
    'exec',
    'hub',
    'ingress',
    'internal',
    'none',
    'null',
  ],
  ...[
    'operator',
    'orchestrator',
    'platform',
    'public',
    'root',
    'self',
    'system',
    'templates',
    'worker',
    'www',
  ],
])

function faultOf(slug: string, environment: Environment): string | undefined {
  if (!new RegExp(SLUG_PATTERN).test(slug))
    return 'must be lower-case words of letters and digits, joined by single hyphens'
  if (slug.length > SLUG_MAX_LENGTH) return `must have at most ${SLUG_MAX_LENGTH} characters`
  const own = `-${environment}`
  const other = ENVIRONMENTS.find((name) => name !== environment && slug.endsWith(`-${name}`))
  if (other) return `is a name of ${other}; this hub serves ${environment}: its workspaces end in ${own}`
  if (!slug.endsWith(own)) return `must end in ${own}: this hub serves only workspaces of that environment`
  const product = slug.slice(0, -own.length)
  if (ENVIRONMENTS.some((name) => product === name || product.endsWith(`-${name}`)))
    return `must name one environment only, at its end`
  if (RESERVED.has(product)) return `is reserved: name the product, e.g. shop${own}`
  return undefined
}

const refused = (message: string): Problem =>
  new Problem('validation_error', `/body/slug ${message}.`, { details: [{ path: '/body/slug', message }] })

/** Errors: `validation_error` at `/body/slug`. */
export function requireSlug(slug: string, environment: Environment): void {
  const message = faultOf(slug, environment)
  if (message !== undefined) throw refused(message)
}

/** Errors: `validation_error` for a slug of the workspace that verifications hold others against. */
export function requireNoNeighbour(slug: string): void {
  if (isNeighbourSlug(slug)) throw refused('is reserved: the hub keeps it for its own verifications')
}
