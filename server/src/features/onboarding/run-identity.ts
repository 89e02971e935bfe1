import type { Db } from '../../platform/db/db.ts'
import type { Secret } from '../../platform/secret.ts'
import { Problem } from '../../problems.ts'
import type { Change } from '../audit/audit.ts'
import { createIdentity, listIdentities, revokeIdentity, SCOPES } from '../identities/identities.ts'
import { VERIFIER } from '../reserved-names/reserved-names.ts'
import { type PlaneClient, told } from './plane-client.ts'
import { NotShown } from './verdict.ts'

export interface RunIdentity {
  readonly id: string
  readonly secret: Secret
}

/**
 * The service identity that a run works as has one name: two runs at once are refused, and leftovers are found. Ends identities that earlier runs have left, and makes a new one in the name of whoever asked for the run.
 */
export async function makeRunIdentity(
  db: Db,
  of: { readonly tenantId: string; readonly change: Change },
): Promise<RunIdentity> {
  await endRunIdentities(db, of)
  const target = { tenantId: of.tenantId, name: VERIFIER, scopes: [...SCOPES] }
  const { identity, clientSecret } = await createIdentity(db, target, of.change)
  return { id: identity.id, secret: clientSecret }
}

const PAGE = 200

export async function endRunIdentities(
  db: Db,
  of: {
    readonly tenantId: string
    readonly change: Change
    /** Only this one: a run that was taken for dead must not end the identity of its successor. */
    readonly only?: string
  },
): Promise<void> {
  const { tenantId, change, only } = of
  let beforeId: string | undefined
  for (;;) {
    const page = await listIdentities(db, { tenantId, beforeId, limit: PAGE })
    for (const { id, name, revokedAt } of page)
      if (name === VERIFIER && !revokedAt && (only === undefined || only === id))
        await revokeIdentity(db, { tenantId, id }, change).catch((error: unknown) => {
          if (!(error instanceof Problem && error.code === 'conflict')) throw error
        })
    beforeId = page.at(-1)?.id
    if (page.length < PAGE) return
  }
}

/** A token by client credentials, as a product gets its own. */
export async function takeToken(plane: PlaneClient, { id, secret }: RunIdentity): Promise<string> {
  const form = new URLSearchParams({
    grant_type: 'client_credentials',
    client_id: id,
    client_secret: secret.reveal(),
  })
  const answer = await plane.call<{ access_token?: string }>('/oauth/token', {
    method: 'POST',
    body: form.toString(),
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    token: null,
  })
  const token = answer.body.access_token
  if (answer.status === 200 && token !== undefined) return token
  throw new NotShown(
    `A service identity of the workspace got no token: ${answer.status} ${told(answer.body)}`,
    'See that the processes of the hub share KEYS_DIR and the database, and that their clocks agree.',
  )
}
