import { Type } from 'typebox'
import type { Db } from '../../platform/db/db.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { decodeCursor, pageOf } from '../../platform/http/page.ts'
import { timeOfId } from '../../platform/ids.ts'
import { authorOf } from '../audit/audit.ts'
import { machineOf, mayTrust } from '../identities/identities.ts'
import {
  DeleteIssuerQuery,
  IssuerBody,
  IssuerPage,
  IssuerParams,
  IssuersQuery,
  IssuerView,
  NewIssuerBody,
} from './trusted-issuers.schema.ts'
import {
  changeIssuer,
  distrustIssuer,
  getIssuer,
  type IssuerRules,
  listIssuers,
  type TrustedIssuer,
  trustIssuer,
} from './trusted-issuers.ts'

const isKey = (parts: readonly unknown[]): parts is readonly [string] =>
  parts.length === 1 && typeof parts[0] === 'string' && timeOfId(parts[0]) !== undefined

const view = (issuer: TrustedIssuer): IssuerView => ({
  id: issuer.id,
  name: issuer.name,
  issuer: issuer.issuer,
  jwks_url: issuer.jwksUrl,
  scopes: [...issuer.scopes],
  subjects: issuer.subjects && [...issuer.subjects],
  created_at: issuer.createdAt.toISOString(),
  updated_at: issuer.updatedAt.toISOString(),
})

/** `/trusted-issuers` of the control plane. */
export function trustedIssuersControl(
  app: HttpServer,
  { db, rules }: { readonly db: Db; readonly rules: IssuerRules },
): void {
  const read = { access: { permission: 'identities.read' } }
  const trust = { access: { permission: 'issuers.write' } }
  const distrust = { access: { permission: 'identities.write' } }
  const tags = ['identities']

  app.post(
    '/trusted-issuers',
    {
      config: trust,
      schema: {
        operationId: 'trustIssuer',
        tags,
        summary: 'Accept the tokens of an identity provider outside of the hub',
        description:
          'Its tokens need `tid` (id of this workspace), `aud` of the plane, `sub`, `iat`, `exp`, `jti`, `scope` and the type `at+jwt`, signed by EdDSA or ES256.',
        body: NewIssuerBody,
        response: { 201: IssuerView },
      },
    },
    async ({ body: { name, issuer, jwks_url, scopes, subjects = null, reason }, principal, call }, reply) => {
      mayTrust(machineOf(principal))
      const wanted = { tenantId: principal.tenantId, name, issuer, jwksUrl: jwks_url, scopes, subjects }
      const trusted = await trustIssuer(db, rules, wanted, { ...authorOf(principal), reason, call })
      return reply.code(201).header('location', `/trusted-issuers/${trusted.id}`).send(view(trusted))
    },
  )

  app.get(
    '/trusted-issuers',
    {
      config: read,
      schema: {
        operationId: 'listTrustedIssuers',
        tags,
        summary: 'Trusted issuers of this workspace, newest first',
        querystring: IssuersQuery,
        response: { 200: IssuerPage },
      },
    },
    async ({ principal: { tenantId }, query: { cursor, limit = 50 } }) => {
      const beforeId = cursor === undefined ? undefined : decodeCursor(cursor, isKey)[0]
      const rows = await listIssuers(db, { tenantId, beforeId, limit: limit + 1 })
      return pageOf(rows, limit, ({ id }) => [id], view)
    },
  )

  app.get(
    '/trusted-issuers/:id',
    {
      config: read,
      schema: {
        operationId: 'getTrustedIssuer',
        tags,
        summary: 'One trusted issuer',
        params: IssuerParams,
        response: { 200: IssuerView },
      },
    },
    async ({ principal: { tenantId }, params: { id } }) => view(await getIssuer(db, { tenantId, id })),
  )

  app.put(
    '/trusted-issuers/:id',
    {
      config: trust,
      schema: {
        operationId: 'changeTrustedIssuer',
        tags,
        summary: 'Replace what is trusted of an issuer; its living tokens end within 5 s',
        params: IssuerParams,
        body: IssuerBody,
        response: { 200: IssuerView },
      },
    },
    async ({
      body: { issuer, jwks_url, scopes, subjects = null, reason },
      principal,
      params: { id },
      call,
    }) => {
      mayTrust(machineOf(principal))
      const wanted = { tenantId: principal.tenantId, id, issuer, jwksUrl: jwks_url, scopes, subjects }
      return view(await changeIssuer(db, rules, wanted, { ...authorOf(principal), reason, call }))
    },
  )

  app.delete(
    '/trusted-issuers/:id',
    {
      config: distrust,
      schema: {
        operationId: 'distrustIssuer',
        tags,
        summary: 'Accept no more tokens of an issuer; its living tokens end within 5 s',
        params: IssuerParams,
        querystring: DeleteIssuerQuery,
        response: { 204: Type.Null({ description: 'It is not trusted any more.' }) },
      },
    },
    async ({ principal, params: { id }, query: { reason }, call }, reply) => {
      await distrustIssuer(db, { tenantId: principal.tenantId, id }, { ...authorOf(principal), reason, call })
      return reply.code(204).send(null)
    },
  )
}
