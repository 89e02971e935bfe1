import type { Clock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import type { Envelope } from '../../platform/envelope.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { decodeCursor, pageOf } from '../../platform/http/page.ts'
import { Secret } from '../../platform/secret.ts'
import { authorOf } from '../audit/audit.ts'
import { deleteSecretVersion, putSecretValue, revertSecret } from './rotation.ts'
import { viewOf } from './secret-view.ts'
import {
  DeleteSecretRefQuery,
  PutSecretValueBody,
  RevertSecretBody,
  SecretRefGone,
  SecretRefParams,
  SecretRefsQuery,
  SecretRefView,
  SecretVersionPage,
  SecretVersionParams,
  type SecretVersionView,
} from './secrets.schema.ts'
import { getSecretRef } from './secrets.ts'
import { listVersions, type VersionRow } from './stored-values.sql.ts'

export interface StoredSecretsDeps {
  readonly db: Db
  readonly clock: Pick<Clock, 'now'>
  readonly envelope: Envelope
}

/** int4, as the column is. */
const MAX_VERSION = 2_147_483_647

const isVersion = (parts: readonly unknown[]): parts is readonly [number] =>
  parts.length === 1 && Number.isInteger(parts[0]) && Number(parts[0]) > 0 && Number(parts[0]) <= MAX_VERSION

const versionView =
  (clock: Pick<Clock, 'now'>) =>
  (row: VersionRow): SecretVersionView => ({
    version: row.version,
    state:
      row.state === 'replaced' && (row.accepted_until?.getTime() ?? 0) > clock.now() ? 'accepted' : row.state,
    accepted_until: row.accepted_until?.toISOString() ?? null,
    last_four: row.last_four,
    created_at: row.created_at.toISOString(),
    created_by: row.created_by,
  })

/** Values that the hub keeps: put, rotate, revert, look at versions. */
export function storedSecretsControl(app: HttpServer, deps: StoredSecretsDeps): void {
  const { db, clock } = deps
  const write = { access: { permission: 'secrets.write' } }
  const tags = ['secret refs']
  const view = viewOf(clock)

  app.put(
    '/secret-refs/:name/value',
    {
      config: { ...write, answers: { problems: ['secrets_unavailable'] } },
      schema: {
        operationId: 'putSecretValue',
        tags,
        summary: 'Put a value into the hub, or rotate it: the new one is active at once',
        params: SecretRefParams,
        body: PutSecretValueBody,
        response: { 200: SecretRefView, 201: SecretRefView },
      },
    },
    async ({ principal, params: { name }, body, call }, reply) => {
      const change = { ...authorOf(principal), reason: body.reason, call }
      const target = { tenantId: principal.tenantId, name, overlapSeconds: body.overlap_seconds }
      const put = await putSecretValue(deps, { ...target, value: new Secret(body.value) }, change)
      return reply.code(put.created ? 201 : 200).send(view(put.secretRef))
    },
  )

  app.post(
    '/secret-refs/:name/revert',
    {
      config: write,
      schema: {
        operationId: 'revertSecret',
        tags,
        summary: 'Take the last rotation back',
        params: SecretRefParams,
        body: RevertSecretBody,
        response: { 200: SecretRefView },
      },
    },
    async ({ principal, params: { name }, body, call }) => {
      const change = { ...authorOf(principal), reason: body.reason, call }
      const target = { tenantId: principal.tenantId, name, overlapSeconds: body.overlap_seconds }
      return view(await revertSecret(db, target, change))
    },
  )

  app.get(
    '/secret-refs/:name/versions',
    {
      config: { access: { permission: 'secrets.read' } },
      schema: {
        operationId: 'listSecretVersions',
        tags,
        summary: 'Versions that the hub keeps of a value, newest first',
        params: SecretRefParams,
        querystring: SecretRefsQuery,
        response: { 200: SecretVersionPage },
      },
    },
    async ({ principal: { tenantId }, params: { name }, query: { cursor, limit = 50 } }) => {
      await getSecretRef(db, { tenantId, name })
      const rows = await listVersions(db, {
        tenantId,
        name,
        before: cursor === undefined ? undefined : decodeCursor(cursor, isVersion)[0],
        limit: limit + 1,
      })
      return pageOf(rows, limit, ({ version }) => [version], versionView(clock))
    },
  )

  app.delete(
    '/secret-refs/:name/versions/:version',
    {
      config: write,
      schema: {
        operationId: 'deleteSecretVersion',
        tags,
        summary: 'Delete a version that is not the active one',
        params: SecretVersionParams,
        querystring: DeleteSecretRefQuery,
        response: { 204: SecretRefGone },
      },
    },
    async ({ principal, params: { name, version }, query: { reason }, call }, reply) => {
      const change = { ...authorOf(principal), reason, call }
      await deleteSecretVersion(db, { tenantId: principal.tenantId, name, version }, change)
      return reply.code(204).send(null)
    },
  )
}
