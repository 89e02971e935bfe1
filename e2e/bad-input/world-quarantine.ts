/** The quarantine of a world: what was addressed to its route, and what belongs to nobody. */

export interface QuarantineWorld {
  /** Stays: nothing verifies it. */
  readonly keptId: string
  readonly discardId: string
  /** Of no workspace. */
  readonly platform: Readonly<Record<'keptId' | 'discardId' | 'assignId', string>>
}

interface Page {
  readonly data: readonly { readonly id: string; readonly events: readonly { readonly id: string }[] }[]
}

/** It is written behind the answer. */
const LOOKS = 100

export async function makeQuarantine(of: {
  readonly slug: string
  readonly routeId: string
  /** Control: as the workspace, or as the platform. */
  get(path: string, as: 'workspace' | 'platform'): Promise<Page>
  /** Sends an event with this id that nobody has signed. */
  forge(path: string, eventId: string): Promise<void>
  wait(): Promise<void>
}): Promise<QuarantineWorld> {
  const keep = async (name: string, as: 'workspace' | 'platform'): Promise<string> => {
    const eventId = `evt_${name}_${of.slug}`
    const [path, list] =
      as === 'workspace'
        ? [`/webhooks/stripe/${of.routeId}`, '/quarantine']
        : ['/webhooks/stripe', '/platform/quarantine']
    await of.forge(path, eventId)
    for (let look = 0; look < LOOKS; look += 1) {
      const { data } = await of.get(`${list}?limit=200`, as)
      const found = data.find(({ events }) => events.some(({ id }) => id === eventId))
      if (found) return found.id
      await of.wait()
    }
    throw new Error(`${eventId} is not in quarantine`)
  }
  return {
    keptId: await keep('kept', 'workspace'),
    discardId: await keep('discard', 'workspace'),
    platform: {
      keptId: await keep('nobodys', 'platform'),
      discardId: await keep('nobodys_discard', 'platform'),
      assignId: await keep('nobodys_assign', 'platform'),
    },
  }
}
