/** Everything that can be wrong with the form of the token endpoint (RFC 6749). */
import { gzipSync } from 'node:zlib'
import { newId } from '../../server/src/platform/ids.ts'
import type { BadRequest } from './parameters.ts'
import type { Wire } from './wire.ts'
import type { World } from './world.ts'

const FORM = 'application/x-www-form-urlencoded'

const wireOf = (body: string | Buffer, headers: Readonly<Record<string, string>> = {}): Wire => ({
  method: 'POST',
  path: '/oauth/token',
  headers: { 'content-type': FORM, ...headers },
  body,
})

const fieldsOf = ({ identityId, clientSecret }: World): Record<string, string> => ({
  grant_type: 'client_credentials',
  client_id: identityId,
  client_secret: clientSecret,
})

const encoded = (fields: Readonly<Record<string, string>>): string => new URLSearchParams(fields).toString()

export const goodForm = (world: World): Wire => wireOf(encoded(fieldsOf(world)))

const basic = (user: string, password: string): Readonly<Record<string, string>> => ({
  authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`,
})

export function badForms(world: World, stranger: World): BadRequest[] {
  const fields = fieldsOf(world)
  const good = encoded(fields)
  const { grant_type: grant = '', ...secrets } = fields
  const INVALID = ['validation_error']
  const UNKNOWN = ['client_credentials_invalid']
  const NOT_TAKEN = ['unsupported_media_type']
  const cases: [name: string, wire: Wire, codes: readonly string[], at?: string][] = []
  for (const name of Object.keys(fields)) {
    const { [name]: value = '', ...others } = fields
    const at = `/body/${name}`
    cases.push(
      [`${name} missing`, wireOf(encoded(others)), INVALID, at],
      [`${name} empty`, wireOf(encoded({ ...others, [name]: '' })), INVALID, at],
      [`${name} twice`, wireOf(`${good}&${encoded({ [name]: value })}`), INVALID, at],
      [`${name} very long`, wireOf(encoded({ ...others, [name]: 'x'.repeat(2_000) })), INVALID, at],
      [`${name} with U+0000`, wireOf(`${encoded(others)}&${name}=a%00b`), [...INVALID, ...UNKNOWN]],
      [`${name} with broken UTF-8`, wireOf(`${encoded(others)}&${name}=%ff%fe`), [...INVALID, ...UNKNOWN]],
      [`${name} with broken encoding`, wireOf(`${encoded(others)}&${name}=%zz`), [...INVALID, ...UNKNOWN]],
    )
  }
  cases.push(
    ['another grant', wireOf(encoded({ ...secrets, grant_type: 'password' })), INVALID, '/body/grant_type'],
    [
      'an unknown scope',
      wireOf(encoded({ ...fields, scope: 'orchestrator.everything' })),
      INVALID,
      '/body/scope',
    ],
    [
      'a scope of the other plane',
      wireOf(encoded({ ...fields, scope: 'orchestrator.execute orchestrator.control.read' })),
      INVALID,
      '/body/scope',
    ],
    ['a very long scope', wireOf(encoded({ ...fields, scope: 'x'.repeat(2_000) })), INVALID, '/body/scope'],
    ['an unknown client', wireOf(encoded({ ...fields, client_id: newId() })), UNKNOWN],
    ['a client id that is none', wireOf(encoded({ ...fields, client_id: "' or 1=1 --" })), UNKNOWN],
    ['a wrong secret', wireOf(encoded({ ...fields, client_secret: `${fields.client_secret}x` })), UNKNOWN],
    [
      "another client's secret",
      wireOf(encoded({ ...fields, client_secret: stranger.clientSecret })),
      UNKNOWN,
    ],
    [
      'Basic with a wrong secret',
      wireOf(encoded({ grant_type: grant }), basic(world.identityId, 'wrong')),
      UNKNOWN,
    ],
    ['Basic with garbage', wireOf(encoded({ grant_type: grant }), { authorization: 'Basic %%%' }), INVALID],
    [
      'Basic without a colon',
      wireOf(encoded({ grant_type: grant }), { authorization: 'Basic YWJj' }),
      INVALID,
    ],
    ['Bearer', wireOf(encoded({ grant_type: grant }), { authorization: world.tokens.exec }), INVALID],
    [
      'the secret twice',
      wireOf(good, basic(world.identityId, world.clientSecret)),
      INVALID,
      '/body/client_secret',
    ],
    ['nothing', wireOf(''), INVALID, '/body'],
    ['JSON', wireOf(JSON.stringify(fields), { 'content-type': 'application/json' }), NOT_TAKEN],
    ['text/plain', wireOf(good, { 'content-type': 'text/plain' }), NOT_TAKEN],
    ['gzip', wireOf(gzipSync(good), { 'content-encoding': 'gzip' }), NOT_TAKEN],
    ['oversized', wireOf(`${good}&x=${'x'.repeat(10_000)}`), ['body_too_large']],
    ['no body', { method: 'POST', path: '/oauth/token' }, INVALID, '/body'],
  )
  return cases.map(([name, wire, codes, at]) => ({ name, wire, codes, ...(at !== undefined && { at }) }))
}
