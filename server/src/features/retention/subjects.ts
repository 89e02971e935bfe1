/** What has a time of its own. */
export const SUBJECTS = [
  'jobs',
  'dead_letters',
  'events',
  'request_log',
  'webhook_inbox',
  'quarantine',
  'audit',
] as const
export type Subject = (typeof SUBJECTS)[number]

/** In days: for jobs after their end, for the others after the end of their day or their making. */
export type KeepDays = Readonly<Record<Subject, number>>
