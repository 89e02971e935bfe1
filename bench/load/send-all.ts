import { openConnection, type RawConnection } from './raw-http.ts'

/** Sends every request once, over so many connections; gives the answers by status. */
export async function sendAll(
  port: number,
  requests: readonly Buffer[],
  connections: number,
): Promise<Readonly<Record<string, number>>> {
  const statuses: Record<string, number> = {}
  let at = 0
  const one = (): Promise<void> =>
    new Promise((resolve, reject) => {
      let raw: RawConnection | undefined
      const next = (): Buffer => requests[at++] ?? Buffer.alloc(0)
      const send = (): void => {
        if (at >= requests.length) raw?.socket.end()
        else raw?.send()
      }
      openConnection(
        { port, next },
        {
          ready: (connected) => {
            raw = connected
            send()
          },
          answered: (status) => {
            statuses[status] = (statuses[status] ?? 0) + 1
            send()
          },
          failed: reject,
          closed: resolve,
        },
      )
    })
  await Promise.all(Array.from({ length: connections }, one))
  return statuses
}
