/** Large bodies: one of a world, and a good request for every operation on it. */
import type { GoodRequest } from './good-request.ts'

export interface PayloadWorld {
  readonly id: string
  /** Of a link that lives five minutes. */
  readonly linkKey: string
}

interface Has {
  readonly payload: PayloadWorld
}

/** `large` sends an event that is too large for the database; gives its inbox id. */
export async function makePayload(of: {
  large(): Promise<string>
  get<T>(path: string): Promise<T>
}): Promise<PayloadWorld> {
  const { payload_ref } = await of.get<{ payload_ref: { id: string } }>(`/webhook-inbox/${await of.large()}`)
  const { url } = await of.get<{ url: string }>(`/payloads/${payload_ref.id}/download`)
  return { id: payload_ref.id, linkKey: url.slice(url.indexOf('=') + 1) }
}

type Requests = Readonly<Record<string, GoodRequest>>

export const execPayloadRequests = ({ payload }: Has): Requests => ({
  readPayload: { params: { id: payload.id } },
})

export const payloadRequests = ({ payload }: Has): Requests => ({
  getPayload: { params: { id: payload.id } },
  // Leaves an event behind.
  downloadPayload: { params: { id: payload.id }, changes: true },
  followPayloadLink: { query: { key: payload.linkKey } },
})
