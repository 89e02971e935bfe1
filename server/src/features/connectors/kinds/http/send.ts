import type { DialResponse } from '../../../../platform/dial/dial-request.ts'
import type { HealthContext } from '../../define-connector.ts'
import { scrubbing } from '../../scrub.ts'
import {
  bearer,
  type Credential,
  credentialsOf,
  hiddenIn,
  type PlainRequest,
  withCredentials,
} from './auth.ts'
import type { HttpAuth } from './auth-settings.ts'
import type { TokenSource } from './oauth.ts'

interface Sending {
  readonly auth: HttpAuth | undefined
  readonly tokens: TokenSource
  readonly maxResponseBytes: number
}

/**
 * One request with its credentials, whatever its answer. A token from memory that is refused by a 401 is renewed
 * once and the request sent again: who says 401 has not carried it out (RFC 9110 §15.5.2).
 */
export async function sendAuthorized(
  { auth, tokens, maxResponseBytes }: Sending,
  request: PlainRequest,
  context: HealthContext,
): Promise<DialResponse> {
  const { clock, secrets, signal, connectTimeoutMs } = context
  const send = (credentials: readonly Credential[]): Promise<DialResponse> => {
    const hidden = hiddenIn(credentials).filter((value) => !isKnown(value.reveal()))
    return scrubbing(context.dial, hidden).request({
      ...withCredentials(request, credentials),
      signal,
      connectTimeoutMs,
      maxResponseBytes,
    })
  }
  // The dial of the context takes the secrets themselves out of answers already.
  const isKnown = (value: string) => Object.values(secrets).some((secret) => secret.reveal() === value)

  if (auth?.type !== 'oauth2') return send(credentialsOf(auth, request, clock.now(), secrets))
  const token = await tokens.get(context)
  const response = await send([bearer(token.value)])
  if (response.status !== 401) return response
  tokens.drop(token.value)
  if (token.fresh) return response
  const renewed = await tokens.get(context)
  return send([bearer(renewed.value)])
}
