import type { DocumentedAnswers, DocumentedHeader } from '../../platform/http/documented-answers.ts'

/** What the routes of jobs answer beside their results, for the OpenAPI document. */

const replayed: DocumentedHeader = {
  description: '`true` when the jobs had been submitted before with the same keys.',
  statuses: [202],
}
const retryAfter: DocumentedHeader = {
  description: 'Seconds after which the same request may succeed.',
  type: 'integer',
  statuses: [503],
}
const retrySubmitAfter: DocumentedHeader = { ...retryAfter, statuses: [429, 503] }

export const SUBMIT_ANSWERS: DocumentedAnswers = {
  problems: [
    'idempotency_key_invalid',
    'connector_not_found',
    'operation_not_found',
    'config_invalid',
    'input_invalid',
    'idempotency_key_reused',
    'overloaded',
    'backlog_full',
    'payload_store_unavailable',
  ],
  headers: {
    Location: { description: 'Path of the job.', statuses: [202] },
    'Idempotent-Replayed': replayed,
    'Retry-After': retrySubmitAfter,
  },
}

/** Faults of single jobs are details of `validation_error`. */
export const BATCH_ANSWERS: DocumentedAnswers = {
  problems: [
    'idempotency_key_invalid',
    'config_invalid',
    'idempotency_key_reused',
    'overloaded',
    'backlog_full',
    'payload_store_unavailable',
  ],
  headers: { 'Idempotent-Replayed': replayed, 'Retry-After': retrySubmitAfter },
}

export const CANCEL_ANSWERS: DocumentedAnswers = {
  problems: ['not_found', 'conflict'],
  headers: { 'Retry-After': retryAfter },
}

export const LIST_ANSWERS: DocumentedAnswers = {
  problems: [],
  headers: { 'Retry-After': retryAfter },
}

export const READ_ANSWERS: DocumentedAnswers = {
  problems: ['not_found'],
  headers: { 'Retry-After': retryAfter },
}
