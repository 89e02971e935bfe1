import { Ajv, type ValidateFunction } from 'ajv'
import type { Dial } from '../../platform/dial/dial.ts'
import { faultsOf } from '../../platform/http/validation.ts'
import { pointerPart } from '../../platform/json-pointer.ts'
import type { ProblemDetail } from '../../problems.ts'
import { ConnectorConfig, NAME_PATTERN } from './connectors.schema.ts'
import type { ConnectorKind } from './define-connector.ts'
import { findKind, KINDS } from './registry.ts'

const NAME = new RegExp(NAME_PATTERN)
/** Taken by paths of the API below /connectors. */
const RESERVED_NAMES = new Set(['kinds'])

const ajv = new Ajv({ allErrors: true, strict: true, allowUnionTypes: true })
const fitsConfig = ajv.compile(ConnectorConfig)
const settingsChecks = new Map<string, ValidateFunction>()

function settingsCheck(kind: ConnectorKind): ValidateFunction {
  const check = settingsChecks.get(kind.kind) ?? ajv.compile(kind.settings)
  settingsChecks.set(kind.kind, check)
  return check
}

/**
 * Every fault of a connector, with its path relative to it (`/settings/base_url`); empty = it may be saved.
 * `refusal` of the dial that will be used finds targets that can never be dialled. What stands outside of the
 * connector (its policy, its secret refs) is for the caller to look up.
 */
export function checkConnector(
  name: string,
  config: unknown,
  options: { readonly refusal?: Dial['refusal'] } = {},
): ProblemDetail[] {
  const faults: ProblemDetail[] = []
  if (RESERVED_NAMES.has(name)) faults.push({ path: '', message: 'has a reserved name' })
  else if (!NAME.test(name) || name.length > 63)
    faults.push({
      path: '',
      message: 'has a name that cannot be used: lower case, digits and - between them, at most 63',
    })
  if (!fitsConfig(config)) return [...faults, ...faultsOf(fitsConfig.errors, '')]
  const { kind: kindName, settings, secrets = {} } = config as ConnectorConfig
  const kind = findKind(kindName)
  if (!kind) {
    const known = KINDS.map((each) => each.kind).join(', ')
    return [...faults, { path: '/kind', message: `is not a connector kind of this hub: ${known}` }]
  }
  const secretNames = Object.keys(secrets)
  faults.push(...secretFaults(kind, secretNames))
  const check = settingsCheck(kind)
  if (!check(settings)) return [...faults, ...faultsOf(check.errors, '/settings')]
  faults.push(...kind.check(settings, secretNames))
  for (const target of kind.targets(settings)) {
    const refused = options.refusal?.('url' in target ? target.url : target)
    if (refused) faults.push({ path: target.path, message: `cannot be dialled: ${refused}` })
  }
  return faults
}

function secretFaults(kind: ConnectorKind, names: readonly string[]): ProblemDetail[] {
  const unknown = names
    .filter((name) => !Object.hasOwn(kind.secrets, name))
    .map((name) => ({
      path: `/secrets/${pointerPart(name)}`,
      message: `is not a secret of the kind ${kind.kind}`,
    }))
  const missing = Object.entries(kind.secrets)
    .filter(([name, { required }]) => required && !names.includes(name))
    .map(([name]) => ({ path: `/secrets/${name}`, message: 'is missing' }))
  return [...unknown, ...missing]
}
