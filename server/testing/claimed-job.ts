import { newId } from '../src/platform/ids.ts'
import type { ClaimedJob } from '../src/queue/job.ts'

/** A job as a claim gives it, without a row in any table. */
export const sampleClaimed = (job: Partial<ClaimedJob> & { readonly leaseId: number }): ClaimedJob => ({
  id: newId(),
  tenantId: newId(),
  queue: 'default',
  lane: 1,
  connector: 'crm',
  operation: 'contact.create',
  input: null,
  inputRef: null,
  metadata: {},
  completion: null,
  attempt: 1,
  idempotencyKey: 'k',
  inboxId: null,
  createdBy: 'svc:tests',
  createdAt: new Date(0),
  call: { requestId: 'r', correlationId: 'c', traceId: 't', traceparent: '' },
  ...job,
})
