// The HTTP routes of bulk actions. No adapter of its own: webhook-inbox.control.ts loads it with the other routes.

import type { Db } from '../../platform/db/db.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { momentAt } from '../../platform/http/moment.ts'
import { decodeCursor, pageOf } from '../../platform/http/page.ts'
import { timeOfId } from '../../platform/ids.ts'
import { Problem } from '../../problems.ts'
import { authorOf, nameOf } from '../audit/audit.ts'
import {
  ErasePlanBody,
  PlanPage,
  PlanParams,
  PlanReason,
  PlansQuery,
  PlanView,
  RetryPlanBody,
} from './plans.schema.ts'
import type { PlanAction } from './plans.sql.ts'
import { abortPlan, commitPlan, getPlan, listPlans, makePlan } from './plans.ts'
import type { Selection } from './selection.ts'
import { planView } from './views.ts'

export interface PlanRouteDeps {
  readonly db: Db
  readonly configVersion: (tenantId: string) => Promise<number>
}

const isPlanKey = (parts: readonly unknown[]): parts is readonly [string] =>
  parts.length === 1 && typeof parts[0] === 'string' && timeOfId(parts[0]) !== undefined

function invalid(path: string, message: string): Problem {
  return new Problem('validation_error', `${path} ${message}.`, { details: [{ path, message }] })
}

/** Exactly one of two; a schema could only say it in words that name no field. */
function retrySelection({ ids, filter }: RetryPlanBody): Selection {
  // In the form that the database gives back, and named once.
  if (ids && !filter) return { ids: [...new Set(ids.map((id) => id.toLowerCase()))] }
  if (!filter || ids) throw invalid('/body', 'must have either ids or filter')
  for (const name of ['received_after', 'received_before'] as const) {
    const time = filter[name]
    if (time !== undefined) momentAt(`/body/filter/${name}`, time)
  }
  return { filter }
}

function eraseSelection({ event_id, subject }: ErasePlanBody): Selection {
  if (event_id !== undefined && !subject) return { event_id }
  if (!subject || event_id !== undefined) throw invalid('/body', 'must have either event_id or subject')
  const { pointer, equals, contains } = subject
  if ((pointer === undefined) !== (equals === undefined))
    throw invalid('/body/subject', 'must have pointer and equals together')
  if (equals === undefined && contains === undefined)
    throw invalid('/body/subject', 'must have pointer and equals, or contains, or both')
  return { subject }
}

/** `/webhook-inbox/retry/plans` and `/webhook-inbox/erase/plans` of the control plane. */
export function planRoutes(app: HttpServer, { db, configVersion }: PlanRouteDeps): void {
  const tags = ['webhook inbox']

  app.post(
    '/webhook-inbox/retry/plans',
    {
      config: { access: { permission: 'webhook_inbox.retry' } },
      schema: {
        operationId: 'planWebhookRetry',
        tags,
        summary: 'See what a retry of many webhooks would do; nothing is done before the commit',
        body: RetryPlanBody,
        response: { 201: PlanView },
      },
    },
    async ({ principal, body, call }, reply) => {
      const { tenantId } = principal
      const plan = await makePlan(db, {
        ...{ tenantId, action: 'retry', selection: retrySelection(body), call },
        ratePerSecond: body.rate_per_second,
        newMessageId: body.new_message_id,
        configVersion: await configVersion(tenantId),
        actor: nameOf(authorOf(principal)),
      })
      return reply.code(201).header('location', `/webhook-inbox/retry/plans/${plan.id}`).send(planView(plan))
    },
  )

  app.post(
    '/webhook-inbox/erase/plans',
    {
      config: { access: { permission: 'webhook_inbox.erase' } },
      schema: {
        operationId: 'planWebhookErase',
        tags,
        summary: 'See which webhooks an erasure would be about; nothing is erased before the commit',
        description:
          'By the id of an event, or by whom it is about; a worker looks through all payloads then.',
        body: ErasePlanBody,
        response: { 201: PlanView },
      },
    },
    async ({ principal, body, call }, reply) => {
      const plan = await makePlan(db, {
        ...{ tenantId: principal.tenantId, action: 'erase', selection: eraseSelection(body), call },
        configVersion: null,
        actor: nameOf(authorOf(principal)),
      })
      return reply.code(201).header('location', `/webhook-inbox/erase/plans/${plan.id}`).send(planView(plan))
    },
  )

  for (const action of ['retry', 'erase'] as const) plansOf(app, db, action)
}

/** What is the same for both actions. */
function plansOf(app: HttpServer, db: Db, action: PlanAction): void {
  const tags = ['webhook inbox']
  const read = { access: { permission: 'webhook_inbox.read' } }
  const write = { access: { permission: `webhook_inbox.${action}` } }
  const name = action === 'retry' ? 'Retry' : 'Erase'
  const path = `/webhook-inbox/${action}/plans`

  app.get(
    path,
    {
      config: read,
      schema: {
        operationId: `listWebhook${name}Plans`,
        tags,
        summary: `Plans to ${action} webhooks, newest first`,
        querystring: PlansQuery,
        response: { 200: PlanPage },
      },
    },
    async ({ principal, query: { cursor, limit = 50, state } }) => {
      const beforeId = cursor === undefined ? undefined : decodeCursor(cursor, isPlanKey)[0]
      const filter = { tenantId: principal.tenantId, action, state, beforeId, limit: limit + 1 }
      return pageOf(await listPlans(db, filter), limit, ({ id }) => [id], planView)
    },
  )

  app.get(
    `${path}/:id`,
    {
      config: read,
      schema: {
        operationId: `getWebhook${name}Plan`,
        tags,
        summary: `A plan to ${action} webhooks and how far it has come`,
        params: PlanParams,
        response: { 200: PlanView },
      },
    },
    async ({ principal, params }) =>
      planView(await getPlan(db, { tenantId: principal.tenantId, id: params.id, action })),
  )

  app.post(
    `${path}/:id/commit`,
    {
      config: write,
      schema: {
        operationId: `commitWebhook${name}Plan`,
        tags,
        summary: 'Do what the plan says; workers do it at its rate',
        params: PlanParams,
        body: PlanReason,
        response: { 202: PlanView },
      },
    },
    async ({ principal, params, body, call }, reply) => {
      const change = { ...authorOf(principal), reason: body.reason, call }
      const plan = await commitPlan(db, { tenantId: principal.tenantId, id: params.id, action }, change)
      return reply.code(202).send(planView(plan))
    },
  )

  app.post(
    `${path}/:id/abort`,
    {
      config: write,
      schema: {
        operationId: `abortWebhook${name}Plan`,
        tags,
        summary: 'Stop a plan for good; what it has done stays done',
        params: PlanParams,
        body: PlanReason,
        response: { 200: PlanView },
      },
    },
    async ({ principal, params, body, call }) => {
      const change = { ...authorOf(principal), reason: body.reason, call }
      return planView(await abortPlan(db, { tenantId: principal.tenantId, id: params.id, action }, change))
    },
  )
}
