import { type Static, Type } from 'typebox'
import { QUEUES } from '../../queue/job.ts'
import { Reason } from '../audit/audit.ts'
import { ConfigDocument } from '../configs/configs.ts'
import { RouteFields } from '../webhook-routes/webhook-routes.ts'
import { QUOTA_MAXIMA } from '../workspaces/workspaces.ts'

/** Of the bundles that this hub writes and reads. */
export const BUNDLE_FORMAT = 1
const closed = { additionalProperties: false }
const name = (description: string) =>
  Type.String({ pattern: '^[a-z0-9]+(-[a-z0-9]+)*$', maxLength: 63, description })

const BundledRoute = Type.Object(
  {
    ...RouteFields,
    account: Type.Union([Type.String({ pattern: '^[\\x21-\\x7e]{1,255}$' }), Type.Null()], {
      description: 'Account of the provider; null: events without an account.',
    }),
    queue: Type.Enum(Object.keys(QUEUES) as (keyof typeof QUEUES)[], {
      description: 'Queue of the deliveries.',
    }),
  },
  { ...closed, description: 'A webhook route, without its id: that differs by workspace.' },
)
export type BundledRoute = Static<typeof BundledRoute>

export const Bundle = Type.Object(
  {
    format: Type.Integer({
      minimum: 1,
      maximum: 1_000,
      description: `Version of the format; this hub knows ${BUNDLE_FORMAT}.`,
    }),
    exported_at: Type.Optional(
      Type.String({ format: 'date-time', description: 'For people; means nothing.' }),
    ),
    workspace: Type.Object(
      {
        slug: Type.String({
          pattern: '^[a-z][a-z0-9]*(-[a-z0-9]+)*$',
          maxLength: 40,
          description: 'Slug of the workspace.',
        }),
        environment: Type.Enum(['dev', 'prod'], { description: 'Its environment.' }),
      },
      { ...closed, description: 'Where the bundle was exported from.' },
    ),
    config: ConfigDocument,
    secret_refs: Type.Array(
      Type.Object(
        {
          name: name('Name of the secret ref.'),
          ref: Type.String({
            pattern: '^[a-z]+://',
            maxLength: 300,
            description: 'Where the value is; never the value.',
          }),
        },
        closed,
      ),
      {
        maxItems: QUOTA_MAXIMA.secret_refs,
        description: 'Every secret ref of the workspace, by name. Values are never in a bundle.',
      },
    ),
    webhook_routes: Type.Array(BundledRoute, {
      maxItems: QUOTA_MAXIMA.webhook_routes,
      description: 'Every webhook route of the workspace.',
    }),
  },
  {
    ...closed,
    title: 'Bundle',
    description: 'Everything that makes a workspace behave as it does, without secrets.',
  },
)
export type Bundle = Static<typeof Bundle>

const planned = {
  bundle: Bundle,
  as: Type.Optional(
    Type.String({
      maxLength: 40,
      description:
        'Slug of this workspace: says that the bundle of another workspace, perhaps of the other environment, is meant ' +
        'for it. `livemode` of routes then follows the environment.',
    }),
  ),
}

export const PlanBody = Type.Object(planned, closed)
export type PlanBody = Static<typeof PlanBody>

const Digest = (description: string) => Type.String({ pattern: '^[0-9a-f]{64}$', description })

export const ImportBody = Type.Object(
  { ...planned, plan: Digest('`digest` of the plan that was seen.'), reason: Reason },
  closed,
)

const Difference = Type.Object({
  path: Type.String({ description: 'JSON pointer into the object.' }),
  before: Type.Optional(Type.Unknown({ description: 'Absent: it is not there.' })),
  after: Type.Optional(Type.Unknown({ description: 'Absent: it will not be there.' })),
})

const Change = Type.Object({
  object: Type.Enum(['policy', 'connector', 'secret_ref', 'webhook_route'], { description: 'What it is.' }),
  name: Type.String({ description: 'Its name; of a route provider, account and mode.' }),
  action: Type.Enum(['create', 'change', 'remove'], {
    description: 'What happens to it. A route that changes keeps its id, and stays paused if it is.',
  }),
  differences: Type.Array(Difference, { description: 'What differs.' }),
})
export type Change = Static<typeof Change>

const outcome = {
  changes: Type.Array(Change, { description: 'In the order of objects and names.' }),
  unchanged: Type.Integer({ description: 'How many objects stay as they are.' }),
  active_version: Type.Integer({ description: 'Version of the config that is active now; 0 = none.' }),
}

export const Plan = Type.Object({
  ...outcome,
  valid: Type.Boolean({ description: 'Whether it can be imported.' }),
  faults: Type.Array(
    Type.Object({
      path: Type.String({ description: 'JSON pointer into the request.' }),
      message: Type.String({ description: 'What is wrong there.' }),
    }),
    { description: 'Every reason why not.' },
  ),
  digest: Digest('Names this plan and the state it was made from; the import takes it.'),
})
export type Plan = Static<typeof Plan>

export const Imported = Type.Object({
  ...outcome,
  imported: Type.Boolean({ description: 'False: the workspace was so already, and nothing was written.' }),
})
export type Imported = Static<typeof Imported>

/** The published schema of a bundle. */
export const bundleJsonSchema = (): Record<string, unknown> => ({
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  $id: 'urn:orchestrator:bundle:1',
  ...(JSON.parse(JSON.stringify(Bundle)) as object),
})
