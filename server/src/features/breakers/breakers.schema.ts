import { type Static, Type } from 'typebox'
import { Page, PageQuery } from '../../platform/http/page.ts'
import { Reason } from '../audit/audit.ts'
import { ConnectorName } from '../connectors/connectors.ts'

const Time = (description: string) => Type.String({ format: 'date-time', description })
const DAY_MS = 86_400_000

export const BreakerView = Type.Object({
  connector: Type.String({ description: 'The connector whose calls it watches.' }),
  state: Type.Enum(['closed', 'open', 'half_open'], {
    description:
      'What the breaker itself says: `closed` lets calls pass, `open` refuses them, `half_open` lets one probe at a time pass.',
  }),
  open_until: Type.Union([Type.String({ format: 'date-time' }), Type.Null()], {
    description: 'When an open one lets the first probe pass; null when it is not open.',
  }),
  why: Type.String({ description: 'Why it is in this state; empty when it never changed.' }),
  shadow: Type.Boolean({ description: 'True when the policy only watches: nothing is refused.' }),
  changed_at: Type.Union([Type.String({ format: 'date-time' }), Type.Null()], {
    description: 'The last change of `state`; null when it never changed.',
  }),
  forced: Type.Union(
    [
      Type.Object({
        state: Type.Enum(['open', 'closed'], { description: 'What an operator wants.' }),
        until: Time('When the breaker decides for itself again.'),
        reason: Type.String({ description: 'Why, as it was given.' }),
        by: Type.String({ description: 'Who: the subject of the token.' }),
        since: Time('Since when.'),
      }),
      Type.Null(),
    ],
    { description: 'While it lasts it wins over `state`.' },
  ),
})
export type BreakerView = Static<typeof BreakerView>

export const BreakerPage = Page(BreakerView)
export const BreakerQuery = Type.Object(PageQuery, { additionalProperties: false })
export const BreakerParams = Type.Object({ connector: ConnectorName })

export const ForceBody = Type.Object(
  {
    state: Type.Enum(['open', 'closed'], {
      description: '`open` refuses every call, `closed` lets every call pass.',
    }),
    for_ms: Type.Integer({
      minimum: 1_000,
      maximum: 7 * DAY_MS,
      description: 'How long; afterwards the breaker decides for itself again. Milliseconds.',
    }),
    reason: Reason,
  },
  { additionalProperties: false },
)

export const ReleaseBody = Type.Object({ reason: Reason }, { additionalProperties: false })
