import { createHmac } from 'node:crypto'
import { defineProvider, type ProviderEvent, type SignedRequest } from '../provider.ts'
import { isObject, objectOf, parseJsonOrForm, textAt } from '../provider-parts/request-body.ts'
import {
  refused,
  requiredHeader,
  sameSignature,
  signedHeader,
  verdictOf,
} from '../provider-parts/request-headers.ts'

const SIGNATURE_HEADER = 'x-hub-signature-256'
const EVENT_HEADER = 'x-github-event'
const DELIVERY_HEADER = 'x-github-delivery'
const SIGNATURE = /^sha256=[0-9a-f]{64}$/

/** The installation of an app, the repository, the organization or else the owner of the repository. */
function accountsOf(body: Readonly<Record<string, unknown>>): readonly string[] {
  const installation = isObject(body.installation) ? body.installation.id : undefined
  const names = [
    Number.isSafeInteger(installation) ? String(installation) : undefined,
    textAt(body, 'repository', 'full_name'),
    textAt(body, 'organization', 'login') ?? textAt(body, 'repository', 'owner', 'login'),
  ]
  return names.filter((name) => name !== undefined)
}

function readEvent(parsed: unknown, { headers, nowMs }: SignedRequest): ProviderEvent {
  const body = objectOf(parsed)
  const event = requiredHeader(headers, EVENT_HEADER)
  const action = textAt(body, 'action')
  return {
    // The same when GitHub sends it again: the dedupe key, as nothing that is signed is one.
    eventId: requiredHeader(headers, DELIVERY_HEADER),
    type: action === undefined ? event : `${event}.${action}`,
    accounts: accountsOf(body),
    livemode: null,
    // GitHub's payloads have no common field that says when; it sends within seconds.
    occurredAt: new Date(nowMs),
  }
}

/**
 * GitHub: webhooks of repositories, organizations and apps, as JSON or as a form. `ping`, which GitHub sends when a
 * webhook is made, is an event like any other: a route that does not want it filters its type.
 * Source: docs.github.com/webhooks (validating deliveries; events and payloads).
 */
export const github = defineProvider({
  name: 'github',
  title: 'GitHub',
  keptHeaders: [
    SIGNATURE_HEADER,
    EVENT_HEADER,
    DELIVERY_HEADER,
    'x-github-hook-id',
    'x-github-hook-installation-target-id',
    'x-github-hook-installation-target-type',
  ],
  accounts: 'any',
  parse: parseJsonOrForm,
  verify: ({ raw, headers }, secrets) => {
    const header = signedHeader(headers, SIGNATURE_HEADER)
    if ('cause' in header) return refused(header.cause)
    if (!SIGNATURE.test(header.value)) return refused('signature_malformed')
    return verdictOf(secrets, (secret) =>
      sameSignature(
        header.value,
        `sha256=${createHmac('sha256', secret.reveal()).update(raw).digest('hex')}`,
      ),
    )
  },
  events: (parsed, request) => [readEvent(parsed, request)],
})
