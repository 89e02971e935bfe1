import type { HttpServer } from '../../platform/http/http-server.ts'
import { Problem } from '../../problems.ts'
import { authorOf } from '../audit/audit.ts'
import {
  ActivateBody,
  Diff,
  DiffQuery,
  ListQuery,
  RollbackBody,
  StoreBody,
  Version,
  VersionPage,
  VersionParams,
} from './configs.schema.ts'
import {
  activateConfig,
  activeVersion,
  type ConfigDeps,
  configVersion,
  diffVersions,
  etagOf,
  IfMatchHeaders,
  listConfigVersions,
  rollBackConfig,
  type StoredVersion,
  storeConfig,
  targetOf,
  type VersionSummary,
  withFaultPlaces,
} from './configs.ts'

const summary = (stored: VersionSummary) => ({
  version: stored.version,
  active: stored.active,
  sha256: stored.sha256,
  author: stored.author,
  reason: stored.reason,
  created_at: stored.createdAt.toISOString(),
})
const whole = (stored: StoredVersion) => ({ ...summary(stored), document: stored.document })

const read = { access: { permission: 'configs.read' } } as const
const write = { access: { permission: 'configs.write' } } as const
const tags = ['configs']

/** Versions of the workspace's config: list, read, store, activate, compare. */
export function configsControl(app: HttpServer, deps: ConfigDeps): void {
  app.get(
    '/configs',
    {
      config: read,
      schema: {
        operationId: 'listConfigs',
        tags,
        summary: 'List config versions, newest first',
        querystring: ListQuery,
        response: { 200: VersionPage },
      },
    },
    async ({ principal, query }) => {
      const page = await listConfigVersions(deps.db, principal.tenantId, {
        cursor: query.cursor,
        limit: query.limit ?? 50,
      })
      return { data: page.data.map(summary), next_cursor: page.next_cursor }
    },
  )

  app.post(
    '/configs',
    {
      config: write,
      schema: {
        operationId: 'storeConfig',
        tags,
        summary: 'Store a whole config document without activating it',
        headers: IfMatchHeaders,
        body: StoreBody,
        response: { 201: Version },
      },
    },
    async (request, reply) => {
      const { principal, call, body } = request
      const change = { ...authorOf(principal), reason: body.reason, call }
      const stored = await withFaultPlaces({ '': '/body/document' }, () =>
        storeConfig(deps, targetOf(request), body.document, change),
      )
      return reply.code(201).header('location', `/configs/${stored.version}`).send(whole(stored))
    },
  )

  app.get(
    '/configs/active',
    {
      config: read,
      schema: {
        operationId: 'getActiveConfig',
        tags,
        summary: 'Read the active config; its version is the ETag',
        response: { 200: Version },
      },
    },
    async ({ principal }, reply) => {
      const active = await activeVersion(deps.db, principal.tenantId)
      if (!active) throw new Problem('not_found', 'This workspace has no active config yet.')
      return reply.header('etag', etagOf(active.version)).send(whole(active))
    },
  )

  app.post(
    '/configs/activate',
    {
      config: write,
      schema: {
        operationId: 'activateConfig',
        tags,
        summary: 'Make a stored version the active one; an older one is the rollback',
        headers: IfMatchHeaders,
        body: ActivateBody,
        response: { 200: Version },
      },
    },
    async (request, reply) => {
      const { principal, call, body } = request
      const change = { ...authorOf(principal), reason: body.reason, call }
      const active = await withFaultPlaces({}, () =>
        activateConfig(deps, targetOf(request), body.version, change),
      )
      return reply.header('etag', etagOf(active.version)).send(whole(active))
    },
  )

  app.post(
    '/configs/rollback',
    {
      config: write,
      schema: {
        operationId: 'rollBackConfig',
        tags,
        summary: 'Make an earlier version active again, after the same checks',
        headers: IfMatchHeaders,
        body: RollbackBody,
        response: { 200: Version },
      },
    },
    async (request, reply) => {
      const { principal, call, body } = request
      const change = { ...authorOf(principal), reason: body.reason, call }
      const active = await withFaultPlaces({}, () => rollBackConfig(deps, targetOf(request), body.to, change))
      return reply.header('etag', etagOf(active.version)).send(whole(active))
    },
  )

  app.get(
    '/configs/diff',
    {
      config: read,
      schema: {
        operationId: 'diffConfigs',
        tags,
        summary: 'What changed between two versions',
        querystring: DiffQuery,
        response: { 200: Diff },
      },
    },
    async ({ principal, query }) => ({
      ...query,
      differences: await diffVersions(deps.db, principal.tenantId, query.from, query.to),
    }),
  )

  app.get(
    '/configs/:version',
    {
      config: read,
      schema: {
        operationId: 'getConfig',
        tags,
        summary: 'Read one config version',
        params: VersionParams,
        response: { 200: Version },
      },
    },
    async ({ principal, params }) => whole(await configVersion(deps.db, principal.tenantId, params.version)),
  )
}
