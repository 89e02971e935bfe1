import { REASON, type World } from './world.ts'

/** A good request for every operation on secret refs. */
export function secretRequests({ names }: World) {
  const reason = { reason: REASON }
  const page = { query: { limit: '10' } }
  const [secret, spare] = [{ name: names.secret }, { name: names.spare }]
  return {
    listSecretRefs: page,
    checkSecretRefs: page,
    getSecretRef: { params: secret },
    putSecretRef: {
      params: secret,
      body: { ref: `file://${names.secret}`, overlap_seconds: 60, ...reason },
    },
    putSecretValue: {
      params: spare,
      body: { value: 'a value that nobody guesses', overlap_seconds: 60, ...reason },
    },
    revertSecret: { params: spare, body: { overlap_seconds: 60, ...reason } },
    listSecretVersions: { params: secret, ...page },
    deleteSecretVersion: { params: { ...spare, version: '1' }, query: reason },
    deleteSecretRef: { params: { name: names.unused }, query: reason },
  }
}
