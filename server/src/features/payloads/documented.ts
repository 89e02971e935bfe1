import type { DocumentedAnswers, DocumentedHeader } from '../../platform/http/documented-answers.ts'

/** What the routes of payloads answer beside their results, for the OpenAPI document. */

const retryAfter: DocumentedHeader = {
  description: 'Seconds after which the same request may succeed.',
  type: 'integer',
  statuses: [503],
}

export const BYTES_ANSWERS: DocumentedAnswers = {
  problems: ['not_found', 'payload_damaged', 'payload_gone', 'payload_store_unavailable'],
  headers: {
    'Content-Disposition': { description: 'A file; its name is made from the id.', statuses: [200] },
    'Repr-Digest': { description: 'SHA-256 of the bytes (RFC 9530).', statuses: [200] },
    'Retry-After': retryAfter,
  },
}

export const READ_ANSWERS: DocumentedAnswers = {
  problems: ['not_found'],
  headers: { 'Retry-After': retryAfter },
}

export const LINK_ANSWERS: DocumentedAnswers = {
  problems: ['not_found', 'payload_store_unavailable'],
  headers: { 'Retry-After': retryAfter },
}
