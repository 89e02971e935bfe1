import type { Clock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { decodeCursor, pageOf } from '../../platform/http/page.ts'
import { Problem } from '../../problems.ts'
import { authorOf } from '../audit/audit.ts'
import type { WorkspaceDirectory } from '../workspaces/workspaces.ts'
import { ageOf, viewOf } from './secret-view.ts'
import {
  DeleteSecretRefQuery,
  PutSecretRefBody,
  SecretHealthPage,
  type SecretHealthView,
  SecretRefDetail,
  SecretRefGone,
  SecretRefPage,
  SecretRefParams,
  SecretRefsQuery,
  SecretRefView,
} from './secrets.schema.ts'
import {
  deleteSecretRef,
  getSecretRef,
  listSecretRefs,
  putSecretRef,
  type ReadRef,
  type SecretRef,
  type UsersOfSecret,
} from './secrets.ts'
import type { Owner } from './stores/store.ts'

export interface SecretsControlDeps {
  readonly db: Db
  readonly clock: Pick<Clock, 'now'>
  readonly directory: WorkspaceDirectory
  readonly readRef: ReadRef
  readonly usersOfSecret: UsersOfSecret
}

const isKey = (parts: readonly unknown[]): parts is readonly [string] =>
  parts.length === 1 && typeof parts[0] === 'string' && /^[a-z0-9-]{1,63}$/.test(parts[0])

/** Looks at the place itself, past the memory of the resolver. The value is dropped at once. */
async function healthOf(
  { readRef, clock }: SecretsControlDeps,
  owner: Owner,
  secret: SecretRef,
): Promise<SecretHealthView> {
  const { name, ref, version } = secret
  const found = await readRef(owner, ref)
  const facts = { name, ref, version, age_seconds: ageOf(secret, clock) }
  return 'why' in found ? { ...facts, resolves: false, why: found.why } : { ...facts, resolves: true }
}

/** `/secret-refs` of the control plane. No endpoint gives a value. */
export function secretsControl(app: HttpServer, deps: SecretsControlDeps): void {
  const { db, clock } = deps
  const read = { access: { permission: 'secrets.read' } }
  const write = { access: { permission: 'secrets.write' } }
  const tags = ['secret refs']
  const view = viewOf(clock)
  const pageAt = (tenantId: string, { cursor, limit = 50 }: { cursor?: string; limit?: number }) =>
    listSecretRefs(db, {
      tenantId,
      afterName: cursor === undefined ? undefined : decodeCursor(cursor, isKey)[0],
      limit: limit + 1,
    })

  app.get(
    '/secret-refs',
    {
      config: read,
      schema: {
        operationId: 'listSecretRefs',
        tags,
        summary: 'Secret refs of this workspace, by name',
        querystring: SecretRefsQuery,
        response: { 200: SecretRefPage },
      },
    },
    async ({ principal: { tenantId }, query }) =>
      pageOf(await pageAt(tenantId, query), query.limit ?? 50, ({ name }) => [name], view),
  )

  app.get(
    '/secret-refs/health',
    {
      config: read,
      schema: {
        operationId: 'checkSecretRefs',
        tags,
        summary: 'Whether each secret ref leads to a usable value, seen from the control process',
        querystring: SecretRefsQuery,
        response: { 200: SecretHealthPage },
      },
    },
    async ({ principal: { tenantId }, query }) => {
      const workspace = await deps.directory.find(tenantId)
      if (!workspace) throw new Problem('not_found', 'There is no such workspace.')
      const owner = { id: tenantId, slug: workspace.slug }
      const page = pageOf(
        await pageAt(tenantId, query),
        query.limit ?? 50,
        ({ name }) => [name],
        (ref) => healthOf(deps, owner, ref),
      )
      return { ...page, data: await Promise.all(page.data) }
    },
  )

  app.get(
    '/secret-refs/:name',
    {
      config: read,
      schema: {
        operationId: 'getSecretRef',
        tags,
        summary: 'One secret ref, and what depends on it',
        params: SecretRefParams,
        response: { 200: SecretRefDetail },
      },
    },
    async ({ principal: { tenantId }, params: { name } }) => {
      const secretRef = await getSecretRef(db, { tenantId, name })
      return { ...view(secretRef), used_by: [...(await deps.usersOfSecret(db, { tenantId, name }))] }
    },
  )

  app.put(
    '/secret-refs/:name',
    {
      config: write,
      schema: {
        operationId: 'putSecretRef',
        tags,
        summary: 'Say where the value of a secret is found',
        params: SecretRefParams,
        body: PutSecretRefBody,
        response: { 200: SecretRefView, 201: SecretRefView },
      },
    },
    async ({ principal, params: { name }, body, call }, reply) => {
      const change = { ...authorOf(principal), reason: body.reason, call }
      const target = { tenantId: principal.tenantId, name, ref: body.ref }
      const put = await putSecretRef(db, { ...target, overlapSeconds: body.overlap_seconds }, change)
      return reply.code(put.created ? 201 : 200).send(view(put.secretRef))
    },
  )

  app.delete(
    '/secret-refs/:name',
    {
      config: write,
      schema: {
        operationId: 'deleteSecretRef',
        tags,
        summary: 'Delete a secret ref that nothing uses, and what the hub keeps for it',
        params: SecretRefParams,
        querystring: DeleteSecretRefQuery,
        response: { 204: SecretRefGone },
      },
    },
    async ({ principal, params: { name }, query: { reason }, call }, reply) => {
      const change = { ...authorOf(principal), reason, call }
      await deleteSecretRef(deps, { tenantId: principal.tenantId, name }, change)
      return reply.code(204).send(null)
    },
  )
}
