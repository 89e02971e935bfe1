/** What has a limit, and the limit of who has none of their own. */
export const DEFAULT_QUOTAS = {
  connectors: 200,
  webhook_routes: 500,
  secret_refs: 1_000,
  service_identities: 200,
  config_versions: 10_000,
  members: 200,
  jobs_waiting: 1_000_000,
} as const

/** The most that any workspace may ever have of something: a document or a bundle with more could not be taken back in. */
export const QUOTA_MAXIMA = { connectors: 500, webhook_routes: 1_000, secret_refs: 1_000 } as const

export type Quota = keyof typeof DEFAULT_QUOTAS
export type Quotas = Readonly<Record<Quota, number>>
export const QUOTAS = Object.keys(DEFAULT_QUOTAS) as Quota[]

export const withDefaults = (stored: Partial<Quotas>): Quotas => ({ ...DEFAULT_QUOTAS, ...stored })
