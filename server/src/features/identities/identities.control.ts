import { type Static, Type } from 'typebox'
import type { Principal } from '../../platform/auth/principal.ts'
import type { Db } from '../../platform/db/db.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { momentAt } from '../../platform/http/moment.ts'
import { decodeCursor, pageOf } from '../../platform/http/page.ts'
import { timeOfId } from '../../platform/ids.ts'
import { Problem } from '../../problems.ts'
import { authorOf } from '../audit/audit.ts'
import { endWithin } from '../permissions/permissions.ts'
import { VERIFIER } from '../reserved-names/reserved-names.ts'
import {
  EndTokensBody,
  IdentitiesQuery,
  IdentityChangeBody,
  IdentityPage,
  IdentityParams,
  IdentityView,
  IdentityWithSecretView,
  NewIdentityBody,
  RevokeBody,
  RevokedIdentityView,
  RotateSecretBody,
} from './identities.schema.ts'
import {
  changeIdentity,
  createIdentity,
  endAllTokens,
  getIdentity,
  type Identity,
  type IdentityWithSecret,
  listIdentities,
  machineOf,
  madeBy,
  revokeIdentity,
  rotateClientSecret,
} from './identities.ts'

const isKey = (parts: readonly unknown[]): parts is readonly [string] =>
  parts.length === 1 && typeof parts[0] === 'string' && timeOfId(parts[0]) !== undefined

const statusOf = ({ revokedAt, expired }: Identity): IdentityView['status'] =>
  revokedAt ? 'revoked' : expired ? 'expired' : 'active'

/** The optional limits of a body. An end that is set in an emergency is that of the session at the latest. */
const limitsOf = (
  body: Pick<Static<typeof IdentityChangeBody>, 'expires_at' | 'certificate_bound' | 'certificate_sha256'>,
  principal: Principal,
) => ({
  ...(body.expires_at !== undefined && {
    expiresAt: endWithin(
      principal,
      body.expires_at === null ? null : momentAt('/body/expires_at', body.expires_at),
    ),
  }),
  ...(body.certificate_bound !== undefined && { certificateBound: body.certificate_bound }),
  ...(body.certificate_sha256 !== undefined && { certificateSha256: body.certificate_sha256 }),
})

const view = (identity: Identity): IdentityView => ({
  id: identity.id,
  name: identity.name,
  scopes: [...identity.scopes],
  status: statusOf(identity),
  created_at: identity.createdAt.toISOString(),
  created_by: identity.createdBy,
  last_used_at: identity.lastUsedAt?.toISOString() ?? null,
  previous_secret_until: identity.previousSecretUntil?.toISOString() ?? null,
  revoked_at: identity.revokedAt?.toISOString() ?? null,
  expires_at: identity.expiresAt?.toISOString() ?? null,
  certificate_bound: identity.certificateBound,
  certificate_sha256: identity.certificateSha256,
})

/** The one place where a client secret leaves the hub. */
const viewWithSecret = ({ identity, clientSecret }: IdentityWithSecret) => ({
  ...view(identity),
  client_secret: clientSecret.reveal(),
})

const reserved = (): Problem => {
  const message = 'is reserved: verifications of the hub work under this name'
  return new Problem('validation_error', `/body/name ${message}.`, {
    details: [{ path: '/body/name', message }],
  })
}

/** `/identities` of the control plane. */
export function identitiesControl(app: HttpServer, { db }: { readonly db: Db }): void {
  const read = { access: { permission: 'identities.read' } }
  const write = { access: { permission: 'identities.write' } }
  const tags = ['identities']

  app.post(
    '/identities',
    {
      config: write,
      schema: {
        operationId: 'createIdentity',
        tags,
        summary: 'Create a service identity; its secret is shown once',
        body: NewIdentityBody,
        response: { 201: IdentityWithSecretView },
      },
    },
    async ({ body: { name, scopes, reason, expires_at = null, ...rest }, principal, call }, reply) => {
      if (name === VERIFIER) throw reserved()
      const machine = machineOf(principal)
      const limits = limitsOf({ ...rest, expires_at }, principal)
      const target = { tenantId: principal.tenantId, machine, name, scopes, ...limits }
      const created = await createIdentity(db, target, { ...authorOf(principal), reason, call })
      return reply
        .code(201)
        .header('location', `/identities/${created.identity.id}`)
        .header('cache-control', 'no-store')
        .send(viewWithSecret(created))
    },
  )

  app.get(
    '/identities',
    {
      config: read,
      schema: {
        operationId: 'listIdentities',
        tags,
        summary: 'Service identities of this workspace, also revoked ones, newest first',
        querystring: IdentitiesQuery,
        response: { 200: IdentityPage },
      },
    },
    async ({ principal: { tenantId }, query: { cursor, limit = 50 } }) => {
      const beforeId = cursor === undefined ? undefined : decodeCursor(cursor, isKey)[0]
      const rows = await listIdentities(db, { tenantId, beforeId, limit: limit + 1 })
      return pageOf(rows, limit, ({ id }) => [id], view)
    },
  )

  app.get(
    '/identities/:id',
    {
      config: read,
      schema: {
        operationId: 'getIdentity',
        tags,
        summary: 'One service identity',
        params: IdentityParams,
        response: { 200: IdentityView },
      },
    },
    async ({ principal: { tenantId }, params: { id } }) => view(await getIdentity(db, { tenantId, id })),
  )

  app.patch(
    '/identities/:id',
    {
      config: write,
      schema: {
        operationId: 'changeIdentity',
        tags,
        summary: 'Change scopes, end or certificate of a service identity',
        description:
          'Fields that are absent stay. When anything is taken away, the tokens that it holds end within 5 s; otherwise they stay as they are.',
        params: IdentityParams,
        body: IdentityChangeBody,
        response: { 200: IdentityView },
      },
    },
    async ({ principal, params: { id }, body: { scopes, reason, ...limits }, call }) => {
      const changes = { ...(scopes && { scopes }), ...limitsOf(limits, principal) }
      const target = { tenantId: principal.tenantId, id, machine: machineOf(principal) }
      return view(await changeIdentity(db, target, changes, { ...authorOf(principal), reason, call }))
    },
  )

  app.post(
    '/identities/:id/revoke',
    {
      config: write,
      schema: {
        operationId: 'revokeIdentity',
        tags,
        summary: 'End a service identity for good: no more tokens, and those it holds end within 5 s',
        params: IdentityParams,
        body: RevokeBody,
        response: { 200: RevokedIdentityView },
      },
    },
    async ({ principal, params: { id }, body: { reason }, call }) => {
      const { tenantId } = principal
      const revoked = await revokeIdentity(db, { tenantId, id }, { ...authorOf(principal), reason, call })
      return { ...view(revoked), left_behind: await madeBy(db, { tenantId, ...revoked }) }
    },
  )

  app.post(
    '/identities/end-tokens',
    {
      config: write,
      schema: {
        operationId: 'endAllTokens',
        tags,
        summary: 'End all living tokens of this workspace within 5 s, also the one that asks',
        description:
          'Those of service identities, trusted issuers, members and whoever impersonates one. It locks nobody out: who has credentials gets a new token, so rotate or revoke what has leaked first.',
        body: EndTokensBody,
        response: { 204: Type.Null({ description: 'They end.' }) },
      },
    },
    async ({ principal, body: { reason }, call }, reply) => {
      await endAllTokens(db, principal.tenantId, { ...authorOf(principal), reason, call })
      return reply.code(204).send(null)
    },
  )

  app.post(
    '/identities/:id/rotate-secret',
    {
      config: write,
      schema: {
        operationId: 'rotateIdentitySecret',
        tags,
        summary: 'Give a service identity a new secret, with an overlap for the present one',
        params: IdentityParams,
        body: RotateSecretBody,
        response: { 200: IdentityWithSecretView },
      },
    },
    async ({ principal, params: { id }, body, call }, reply) => {
      const target = {
        tenantId: principal.tenantId,
        id,
        machine: machineOf(principal),
        overlapSeconds: body.overlap_seconds,
        endsTokens: body.end_tokens ?? false,
      }
      const change = { ...authorOf(principal), reason: body.reason, call }
      const rotated = await rotateClientSecret(db, target, change)
      return reply.header('cache-control', 'no-store').send(viewWithSecret(rotated))
    },
  )
}
