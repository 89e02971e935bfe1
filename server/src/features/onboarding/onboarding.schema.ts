import { type Static, Type } from 'typebox'
import { Reason } from '../audit/audit.ts'

export const VerifyParams = Type.Object({
  id: Type.String({ format: 'uuid', description: 'Id of the workspace.' }),
})

export const RunParams = Type.Object({
  id: Type.String({ format: 'uuid', description: 'Id of the workspace.' }),
  run: Type.String({ format: 'uuid', description: 'Id of the verification.' }),
})

export const VerifyBody = Type.Object(
  {
    target_url: Type.Optional(
      Type.String({
        pattern: '^https?://',
        maxLength: 500,
        description:
          'Where `orchestrator onboard target` listens, for hubs that may not call loopback. Absent: VERIFY_TARGET_URL, else a target of its own.',
      }),
    ),
    reason: Reason,
  },
  { additionalProperties: false },
)

const time = { format: 'date-time' } as const

export const LineView = Type.Object({
  name: Type.String({ description: 'Name of the check; it stays the same.' }),
  proves: Type.String({ description: 'What it proves.' }),
  status: Type.Enum(['passed', 'failed', 'not_applicable'], { description: 'How it came out.' }),
  detail: Type.String({ description: 'What was seen, what is wrong, or why it does not apply.' }),
  mend: Type.Union([Type.String(), Type.Null()], { description: 'What to do when it failed.' }),
  duration_ms: Type.Integer({ description: 'How long it took. Milliseconds.' }),
})

export const RunView = Type.Object({
  id: Type.String({ format: 'uuid', description: 'Id of the verification.' }),
  state: Type.Enum(['running', 'passed', 'failed', 'broken_off'], {
    description:
      '`passed`: no line failed. `broken_off`: its process died; control takes away what it has left within some minutes, or the next verification does.',
  }),
  started_by: Type.String({ description: 'Subject of the token that started it.' }),
  reason: Type.String({ description: 'Why, as it was given.' }),
  started_at: Type.String({ ...time, description: 'When it began.' }),
  ended_at: Type.Union([Type.String(time), Type.Null()], {
    description: 'When it ended; null while it runs.',
  }),
  lines: Type.Array(LineView, {
    description: 'Lines of the checklist in their order, as far as they are done.',
  }),
})
export type RunView = Static<typeof RunView>
