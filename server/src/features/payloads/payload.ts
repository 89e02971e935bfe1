/** What is told of a payload to whoever refers to it. */
export interface PayloadRef {
  readonly id: string
  /** Bytes, in clear. */
  readonly size: number
  /** Hex, of the bytes in clear. */
  readonly sha256: string
  readonly contentType: string
}

/** A payload whose bytes are kept, and whose row is to be written with what refers to it: `record`. */
export interface KeptPayload extends PayloadRef {
  readonly tenantId: string
  readonly store: 'disk' | 's3'
  readonly objectKey: string
  /** Null = the object is not encrypted. */
  readonly sealedKey: Buffer | null
}

/**
 * What refers to a payload, so that it goes when that has gone. `id`: of the inbox row, of the job, of the execution.
 * The reference itself is `webhook_payload.payload_id`, `input_ref` or `result_ref` with this id; an execution needs none.
 */
export interface PayloadOwner {
  readonly kind: 'webhook' | 'job_input' | 'job_result' | 'execution'
  readonly id: string
}

export interface NewPayload {
  readonly payload: KeptPayload
  readonly owner: PayloadOwner
}

/** A payload as it is stored. */
export interface StoredPayload extends PayloadRef {
  readonly owner: PayloadOwner
  readonly sealed: boolean
  /** Its store is away; the bytes wait in the database. */
  readonly spooled: boolean
  readonly store: 'disk' | 's3'
  readonly createdAt: Date
}

/** A reference to a payload as it stands in JSON: the `InputRef` of a job, the `result_ref` of an attempt. */
export interface PayloadJson {
  readonly kind: 'payload'
  readonly id: string
  readonly size: number
  readonly sha256: string
  readonly content_type: string
}

export const payloadJson = ({ id, size, sha256, contentType }: PayloadRef): PayloadJson => ({
  kind: 'payload',
  ...{ id, size, sha256 },
  content_type: contentType,
})

/** Under which name it is saved: nothing of what a sender chose. */
export const fileName = (id: string): string => `payload-${id}.bin`

/** What authenticates an encrypted payload: moved to another id or workspace it does not open. */
export const sealContext = (tenantId: string, id: string): readonly string[] => ['payload', tenantId, id]
