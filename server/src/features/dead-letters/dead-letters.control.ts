import type { Db } from '../../platform/db/db.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { decodeCursor, pageOf } from '../../platform/http/page.ts'
import { timeOfId } from '../../platform/ids.ts'
import { Problem } from '../../problems.ts'
import { listDeadLetters, listFailureGroups } from '../../queue/dead-letters.ts'
import { authorOf, nameOf } from '../audit/audit.ts'
import {
  GroupPage,
  LetterPage,
  LettersQuery,
  PlanBody,
  PlanPage,
  PlanParams,
  PlanReason,
  PlansQuery,
  PlanView,
  QueueParams,
} from './dead-letters.schema.ts'
import { abortPlan, commitPlan, getPlan, listPlans, makePlan, type Selection } from './dead-letters.ts'
import { groupView, letterView, planView } from './dead-letters.views.ts'
import { checkedFilter, filterOf } from './selection.ts'

const isUs = (value: unknown): value is number => Number.isSafeInteger(value)
const isLetterKey = (parts: readonly unknown[]): parts is readonly [number, string] =>
  parts.length === 2 && isUs(parts[0]) && typeof parts[1] === 'string' && timeOfId(parts[1]) !== undefined
const isGroupKey = (parts: readonly unknown[]): parts is readonly [number, string] =>
  parts.length === 2 && isUs(parts[0]) && typeof parts[1] === 'string' && /^[0-9a-f]{16}$/.test(parts[1])
const isPlanKey = (parts: readonly unknown[]): parts is readonly [string] =>
  parts.length === 1 && typeof parts[0] === 'string' && timeOfId(parts[0]) !== undefined

/** Exactly one of the two; a schema could only say it in words that name no field. */
function selectionOf({ ids, filter }: PlanBody): Selection {
  // In the form that the database gives back: a job is looked up by it, and named once.
  if (ids && !filter) return { ids: [...new Set(ids.map((id) => id.toLowerCase()))] }
  if (filter && !ids) return { filter: checkedFilter(filter, '/body/filter') }
  const message = 'must have either ids or filter'
  throw new Problem('validation_error', `/body ${message}.`, { details: [{ path: '/body', message }] })
}

/** `/dlq` of the control plane. */
export function deadLettersControl(app: HttpServer, { db }: { readonly db: Db }): void {
  const read = { access: { permission: 'dead_letters.read' } }
  const write = { access: { permission: 'dead_letters.control' } }
  const tags = ['dead letters']

  app.get(
    '/dlq/:queue',
    {
      config: read,
      schema: {
        operationId: 'listDeadLetters',
        tags,
        summary: 'Dead letters of a queue, newest first',
        params: QueueParams,
        querystring: LettersQuery,
        response: { 200: LetterPage },
      },
    },
    async ({ principal, params: { queue }, query }) => {
      const { cursor, limit = 50, bin = false, ...filter } = query
      const [deadUs, id] = cursor === undefined ? [] : decodeCursor(cursor, isLetterKey)
      const letters = await listDeadLetters(db, {
        tenantId: principal.tenantId,
        queue,
        binned: bin,
        filter: filterOf(checkedFilter(filter, '/query')),
        before: deadUs === undefined || id === undefined ? undefined : { deadUs, id },
        limit: limit + 1,
      })
      return pageOf(letters, limit, ({ key }) => [key.deadUs, key.id], letterView(queue))
    },
  )

  app.get(
    '/dlq/:queue/groups',
    {
      config: read,
      schema: {
        operationId: 'listDeadLetterGroups',
        tags,
        summary: 'Dead letters counted by kind of failure, the kind that happened last first',
        params: QueueParams,
        querystring: LettersQuery,
        response: { 200: GroupPage },
      },
    },
    async ({ principal, params: { queue }, query }) => {
      const { cursor, limit = 50, bin = false, ...filter } = query
      const [lastUs, fingerprint] = cursor === undefined ? [] : decodeCursor(cursor, isGroupKey)
      const groups = await listFailureGroups(db, {
        tenantId: principal.tenantId,
        queue,
        binned: bin,
        filter: filterOf(checkedFilter(filter, '/query')),
        before: lastUs === undefined || fingerprint === undefined ? undefined : { lastUs, fingerprint },
        limit: limit + 1,
      })
      return pageOf(groups, limit, ({ key }) => [key.lastUs, key.fingerprint], groupView)
    },
  )

  app.post(
    '/dlq/:queue/plans',
    {
      config: write,
      schema: {
        operationId: 'planDeadLetters',
        tags,
        summary: 'See what a replay, purge or restore would do; nothing is done before the commit',
        params: QueueParams,
        body: PlanBody,
        response: { 201: PlanView },
      },
    },
    async ({ principal, params: { queue }, body, call }, reply) => {
      const plan = await makePlan(db, {
        tenantId: principal.tenantId,
        queue,
        action: body.action,
        selection: selectionOf(body),
        ratePerSecond: body.rate_per_second,
        newEffect: body.new_effect,
        actor: nameOf(authorOf(principal)),
        call,
      })
      return reply.code(201).header('location', `/dlq/plans/${plan.id}`).send(planView(plan))
    },
  )

  app.get(
    '/dlq/plans',
    {
      config: read,
      schema: {
        operationId: 'listDeadLetterPlans',
        tags,
        summary: 'Bulk actions on dead letters, newest first',
        querystring: PlansQuery,
        response: { 200: PlanPage },
      },
    },
    async ({ principal, query: { cursor, limit = 50, state } }) => {
      const beforeId = cursor === undefined ? undefined : decodeCursor(cursor, isPlanKey)[0]
      const plans = await listPlans(db, { tenantId: principal.tenantId, state, beforeId, limit: limit + 1 })
      return pageOf(plans, limit, ({ id }) => [id], planView)
    },
  )

  app.get(
    '/dlq/plans/:id',
    {
      config: read,
      schema: {
        operationId: 'getDeadLetterPlan',
        tags,
        summary: 'A bulk action and how far it has come',
        params: PlanParams,
        response: { 200: PlanView },
      },
    },
    async ({ principal, params }) =>
      planView(await getPlan(db, { tenantId: principal.tenantId, id: params.id })),
  )

  app.post(
    '/dlq/plans/:id/commit',
    {
      config: write,
      schema: {
        operationId: 'commitDeadLetterPlan',
        tags,
        summary: 'Do what the plan says; workers do it at its rate',
        params: PlanParams,
        body: PlanReason,
        response: { 202: PlanView },
      },
    },
    async ({ principal, params, body, call }, reply) => {
      const change = { ...authorOf(principal), reason: body.reason, call }
      const plan = await commitPlan(db, { tenantId: principal.tenantId, id: params.id }, change)
      return reply.code(202).send(planView(plan))
    },
  )

  app.post(
    '/dlq/plans/:id/abort',
    {
      config: write,
      schema: {
        operationId: 'abortDeadLetterPlan',
        tags,
        summary: 'Stop a plan for good; what it has done stays done',
        params: PlanParams,
        body: PlanReason,
        response: { 200: PlanView },
      },
    },
    async ({ principal, params, body, call }) => {
      const change = { ...authorOf(principal), reason: body.reason, call }
      return planView(await abortPlan(db, { tenantId: principal.tenantId, id: params.id }, change))
    },
  )
}
