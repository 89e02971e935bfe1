import { type Static, Type } from 'typebox'
import { Page, PageQuery } from '../../platform/http/page.ts'
import { COUNT_LIMIT } from '../../queue/depth.ts'
import { QUEUES, type QueueName } from '../../queue/job.ts'
import { Reason } from '../audit/audit.ts'
import { ConnectorName } from '../connectors/connectors.ts'

const QUEUE_NAMES = Object.keys(QUEUES) as QueueName[]
const Time = (description: string) => Type.String({ format: 'date-time', description })

export const PauseView = Type.Union(
  [
    Type.Object({
      since: Time('When it was paused.'),
      by: Type.String({ description: 'Who paused it: the subject of the token.' }),
      reason: Type.String({ description: 'Why, as it was given.' }),
    }),
    Type.Null(),
  ],
  {
    description:
      'The pause in force, null when there is none. While it lasts no attempt starts, from half a second after its begin at the latest; attempts that run go on to their end, and waiting jobs spend no attempt.',
  },
)
export type PauseView = Static<typeof PauseView>

const count = (what: string) =>
  Type.Integer({ minimum: 0, description: `${what} Counted up to ${COUNT_LIMIT}.` })

export const QueueView = Type.Object({
  queue: Type.Enum(QUEUE_NAMES, { description: 'The queue.' }),
  depth: count('Jobs that could start now.'),
  oldest_age_seconds: Type.Union([Type.Number(), Type.Null()], {
    description: 'How long the oldest of them has waited; null when none waits.',
  }),
  running: count('Attempts that run now.'),
  deferred: Type.Integer({
    minimum: 0,
    description:
      'Jobs that wait for a time: scheduled, retrying or snoozed. Counted among the first 100000 of the workspace.',
  }),
  dead: count('Dead letters, without those in the bin.'),
  paused: PauseView,
})
export type QueueView = Static<typeof QueueView>

export const QueuesView = Type.Object({
  queues: Type.Array(QueueView, { description: 'The queues of this workspace, the most important first.' }),
  paused: PauseView,
})

export const BlockedLane = Type.Object({
  connector: Type.String({ description: 'The connector whose jobs do not start.' }),
  paused: PauseView,
  blocked: Type.Union(
    [
      Type.Object({
        until: Time('When its jobs may start again.'),
        reason: Type.String({ description: 'Why it is blocked.' }),
      }),
      Type.Null(),
    ],
    {
      description:
        'The block that the hub itself has set, e.g. by the Retry-After of an upstream; null when there is none.',
    },
  ),
})
export const BlockedPage = Page(BlockedLane)
export const BlockedQuery = Type.Object(PageQuery, { additionalProperties: false })

export const QueueParams = Type.Object({
  queue: Type.Enum(QUEUE_NAMES, { description: 'The queue.' }),
})
export const ConnectorParams = Type.Object({ name: { ...ConnectorName, description: 'The connector.' } })
export const ControlBody = Type.Object({ reason: Reason }, { additionalProperties: false })

export const ControlResult = Type.Object({
  changed: Type.Boolean({
    description: 'False when it was so before; then nothing is written to the audit log.',
  }),
  paused: PauseView,
})
export type ControlResult = Static<typeof ControlResult>
