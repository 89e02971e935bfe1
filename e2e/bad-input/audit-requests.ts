/** Filters with a value in each, so that each can be spoilt. */
const FILTER = {
  ...{ actor: 'operator', action: 'a.b', object: 'a:b' },
  ...{ from: '2026-01-01T00:00:00Z', to: '2026-12-31T23:59:59.999Z' },
}

/** Requests about the audit log. */
export const AUDIT_REQUESTS: Readonly<
  Record<string, { readonly query?: Readonly<Record<string, string>>; readonly ofTheHub?: boolean }>
> = {
  listAudit: { query: { limit: '10', ...FILTER } },
  verifyAudit: {},
  exportAudit: { query: { format: 'csv', ...FILTER } },
  listPlatformAudit: { query: { limit: '10', ...FILTER } },
  verifyPlatformAudit: {},
  exportPlatformAudit: { query: { format: 'json', ...FILTER } },
  verifyAllAudit: { ofTheHub: true },
}
