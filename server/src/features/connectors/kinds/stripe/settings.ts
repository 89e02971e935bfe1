import { type Static, Type } from 'typebox'
import type { ProblemDetail } from '../../../../problems.ts'

/** What `Stripe-Version` says when the settings name none: the newest version whose objects the kind was tested with. */
export const DEFAULT_API_VERSION = '2026-10-28.endive'
const DEFAULT_BASE_URL = 'https://api.stripe.com'

export const StripeSettings = Type.Object(
  {
    mode: Type.Enum(['test', 'live'], {
      title: 'Mode',
      description: 'Test or live. A key of the other mode is refused before anything is sent.',
    }),
    api_version: Type.Optional(
      Type.String({
        title: 'API version',
        pattern: '^\\d{4}-\\d{2}-\\d{2}(\\.[a-z0-9_]+)?$',
        maxLength: 40,
        default: DEFAULT_API_VERSION,
        description: `Sent as \`Stripe-Version\`, so that an upgrade of the account changes nothing here. Absent = ${DEFAULT_API_VERSION}.`,
      }),
    ),
    account: Type.Optional(
      Type.String({
        title: 'Connected account',
        pattern: '^acct_[A-Za-z0-9]+$',
        maxLength: 100,
        description:
          'Sent as `Stripe-Account` with every call. A call may not name another one. Absent = each call may name its own.',
      }),
    ),
    base_url: Type.Optional(
      Type.String({
        title: 'Base URL',
        pattern: '^https?://',
        maxLength: 2000,
        default: DEFAULT_BASE_URL,
        description: `For a test server that speaks Stripe's API. Absent = ${DEFAULT_BASE_URL}.`,
      }),
    ),
  },
  { additionalProperties: false },
)
export type StripeSettings = Static<typeof StripeSettings>

/** Where paths such as `/v1/customers` start, without a slash at the end. */
export const baseUrlOf = ({ base_url }: StripeSettings): string =>
  (base_url ?? DEFAULT_BASE_URL).replace(/\/+$/, '')

export function stripeFaults(settings: StripeSettings): ProblemDetail[] {
  const path = '/settings/base_url'
  const url = URL.parse(baseUrlOf(settings))
  if (!url) return [{ path, message: 'is not a URL' }]
  const faults: ProblemDetail[] = []
  if (url.pathname !== '/' || /[?#]/.test(baseUrlOf(settings)))
    faults.push({ path, message: 'must be scheme, host and port only' })
  if (url.username !== '' || url.password !== '')
    faults.push({ path, message: 'must have no user name or password' })
  // The key goes out with every call.
  if (settings.mode === 'live' && url.protocol !== 'https:')
    faults.push({ path, message: 'must be https in live mode' })
  return faults
}
