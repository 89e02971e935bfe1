/** The webhook inbox of a world: what of it can be delivered once more, and plans. */

export interface InboxWorld {
  /** Its delivery is cancelled, so that it can be delivered once more. */
  readonly cancelledId: string
  /** Planned: one to commit and one to abort. */
  readonly retryPlans: readonly string[]
  readonly erasePlans: readonly string[]
}

export async function makeInbox(of: {
  readonly slug: string
  readonly reason: string
  /** Control, with every right in the workspace. */
  get<T>(path: string): Promise<T>
  post<T>(path: string, body: object): Promise<T>
  /** Sends an event with this id; gives its inbox id. */
  receive(eventId: string): Promise<string>
  /** As a worker does: what the plans are about. */
  search(): Promise<void>
}): Promise<InboxWorld> {
  const eventId = `evt_again_${of.slug}`
  const cancelledId = await of.receive(eventId)
  const { job_ids } = await of.get<{ job_ids: string[] }>(`/webhook-inbox/${cancelledId}`)
  await of.post(`/jobs/${job_ids[0]}/cancel`, { reason: of.reason })
  const plansOf = async (action: 'retry' | 'erase', body: object): Promise<string[]> => {
    const plans: string[] = []
    for (let count = 0; count < 2; count += 1)
      plans.push((await of.post<{ plan_id: string }>(`/webhook-inbox/${action}/plans`, body)).plan_id)
    return plans
  }
  const retryPlans = await plansOf('retry', { ids: [cancelledId] })
  const erasePlans = await plansOf('erase', { event_id: eventId })
  await of.search()
  return { cancelledId, retryPlans, erasePlans }
}
