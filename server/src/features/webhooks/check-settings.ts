import { Ajv, type ValidateFunction } from 'ajv'
import { faultsOf } from '../../platform/http/validation.ts'
import { pointerPart } from '../../platform/json-pointer.ts'
import type { ProblemDetail } from '../../problems.ts'
import { PROVIDERS } from './providers/registry.ts'

const compiled = new Map<string, ValidateFunction>()

/**
 * What is wrong with the name of a provider and the settings of a route of it; empty = nothing. Paths are of the route,
 * e.g. `/settings/signature/header`.
 */
export function providerFaults(
  name: string,
  settings: Readonly<Record<string, unknown>>,
): readonly ProblemDetail[] {
  const provider = PROVIDERS.get(name)
  if (!provider) return [{ path: '/provider', message: 'is not a webhook provider of this hub' }]
  if (!provider.settings)
    return Object.keys(settings).map((setting) => ({
      path: `/settings/${pointerPart(setting)}`,
      message: 'is unknown: this provider has no settings',
    }))
  const fits =
    compiled.get(name) ??
    new Ajv({ allErrors: true, strict: true, strictRequired: false, allowUnionTypes: true }).compile(
      provider.settings,
    )
  compiled.set(name, fits)
  return fits(settings) ? [] : faultsOf(fits.errors, '/settings')
}
