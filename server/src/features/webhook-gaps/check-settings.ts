import { Ajv, type ValidateFunction } from 'ajv'
import { faultsOf } from '../../platform/http/validation.ts'
import type { ProblemDetail } from '../../problems.ts'
import { GAP_SOURCES } from './gap-sources/registry.ts'

const compiled = new Map<string, ValidateFunction>()

/**
 * What is wrong with the gap check of a route of this provider; empty = nothing. Paths are of the route, e.g.
 * `/gap_check/settings/list`. `connectorKind` is that of its connector; undefined = somebody else says what is wrong.
 */
export function gapCheckFaults(
  provider: string,
  connectorKind: string | undefined,
  settings: Readonly<Record<string, unknown>>,
): readonly ProblemDetail[] {
  const source = GAP_SOURCES.get(provider)
  if (!source)
    return [
      { path: '/gap_check', message: 'must be null: the hub can read no list of events of this provider' },
    ]
  const fits =
    compiled.get(provider) ??
    new Ajv({ allErrors: true, strict: true, strictRequired: false, allowUnionTypes: true }).compile(
      source.settings,
    )
  compiled.set(provider, fits)
  const kinds = source.connectorKinds
  return [
    ...(connectorKind === undefined || kinds.includes(connectorKind)
      ? []
      : [
          {
            path: '/gap_check/connector',
            message: `must be of kind ${kinds.join(' or ')}, not ${connectorKind}`,
          },
        ]),
    ...(fits(settings) ? [] : faultsOf(fits.errors, '/gap_check/settings')),
  ]
}
