import { Type } from 'typebox'
import { Reason } from '../audit/audit.ts'
import { SUBJECTS, type Subject } from './subjects.ts'

export const RetentionParams = Type.Object({
  id: Type.String({ format: 'uuid', description: 'Id of the workspace.' }),
})

const WHAT: Readonly<Record<Subject, string>> = {
  jobs: 'Ended jobs with their attempts, counted from their end.',
  dead_letters: 'Dead letters, until they go into the bin by themselves.',
  events: 'Events.',
  request_log: 'The request log of `/execute`.',
  webhook_inbox: 'Received webhooks with their payloads.',
  quarantine: 'Webhooks in quarantine.',
  audit: 'Audit entries, at least 30 days.',
}

const days = (subject: Subject) =>
  Type.Optional(
    Type.Union([Type.Integer({ minimum: subject === 'audit' ? 30 : 2, maximum: 3_650 }), Type.Null()], {
      description: `${WHAT[subject]} Days; null = as the hub says.`,
    }),
  )

export const RetentionBody = Type.Object(
  {
    days: Type.Object(
      {
        jobs: days('jobs'),
        dead_letters: days('dead_letters'),
        events: days('events'),
        request_log: days('request_log'),
        webhook_inbox: days('webhook_inbox'),
        quarantine: days('quarantine'),
        audit: days('audit'),
      },
      {
        additionalProperties: false,
        minProperties: 1,
        description:
          'How long to keep what; what is absent stays. Fewer days remove what is older, for good.',
      },
    ),
    reason: Reason,
  },
  { additionalProperties: false },
)

export const RetentionView = Type.Object({
  data: Type.Array(
    Type.Object({
      subject: Type.Enum([...SUBJECTS], { description: 'What is kept.' }),
      days: Type.Integer({ description: 'For so many days.' }),
      own: Type.Boolean({ description: 'Whether the workspace has days of its own, or those of the hub.' }),
    }),
    { description: 'Everything that has a time.' },
  ),
})

export const PreviewView = Type.Object({
  days: Type.Array(
    Type.Object({
      tables: Type.Array(Type.String(), { description: 'Tables of which the day goes together.' }),
      day: Type.String({ format: 'date', description: 'The day, in UTC.' }),
      bytes: Type.Number({ description: 'What the disk gets back.' }),
      held_by: Type.Union([Type.String(), Type.Null()], {
        description: 'Why the day stays although its time is over; null = it goes.',
      }),
    }),
    { description: 'Days of history that no workspace keeps any more, oldest first.' },
  ),
  rows: Type.Array(
    Type.Object({
      workspace_id: Type.String({ description: 'Id of the workspace.' }),
      subject: Type.Enum([...SUBJECTS], { description: 'What the rows are.' }),
      day: Type.String({ format: 'date', description: 'The day, in UTC.' }),
      rows: Type.Integer({
        description: 'Rows, counted no further than a million; jobs that are not over stay.',
      }),
    }),
    { description: 'Rows of workspaces that keep less than others, in days that stay.' },
  ),
  dead_letters: Type.Integer({ description: 'Dead letters that go into the bin.' }),
  audit_entries: Type.Integer({ description: 'Audit entries that go, up to a signed checkpoint.' }),
})
