import { EnvelopeFailure } from '../../../platform/envelope.ts'
import { openStored } from '../stored-values.ts'
import { type Found, type SecretStore, secretFrom, type Unresolved } from './store.ts'

/**
 * What the hub keeps itself, sealed: `store://name` is the value that was put at `PUT /secret-refs/name/value`.
 * After a rotation the older versions stand beside the newest until the end of their overlap.
 */
export const hubStore: SecretStore = {
  scheme: 'store',
  addressRule: 'store://name with the name of the secret ref itself, whose value the hub keeps',
  addressPattern: /^(?=.{1,63}$)[a-z0-9]+(-[a-z0-9]+)*$/,
  open:
    ({ db, envelope }) =>
    async ({ id }, name): Promise<Found | Unresolved> => {
      try {
        const [newest, ...accepted] = await openStored(db, envelope, { tenantId: id, name })
        if (!newest) return { why: 'there is no value in the store yet' }
        const found = secretFrom(Buffer.from(newest.reveal()))
        return 'why' in found ? found : [...found, ...accepted]
      } catch (error) {
        if (!(error instanceof EnvelopeFailure)) throw error
        const why = error.message.replace(/\.$/, '')
        return error.reason === 'not_authentic' ? { why } : { why, away: true }
      }
    },
}
