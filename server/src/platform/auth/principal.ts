/** Who is calling, as a verified token says it. Nothing else in a request may name the caller or the tenant. */
export interface Principal {
  /** The `sub` claim: a service identity (`svc:…`), an operator, or an external subject. */
  readonly subject: string
  /** The `tid` claim, a UUID: every statement made for this caller is limited to it. */
  readonly tenantId: string
  readonly scopes: ReadonlySet<string>
  /** Roles above the tenant, e.g. for platform endpoints; empty for machines of one tenant. */
  readonly roles: ReadonlySet<string>
  /** The `jti` claim. */
  readonly tokenId: string
  /** The `exp` claim in milliseconds since the epoch: a stream that outlives its token must end. */
  readonly expiresAt: number
}

/** Turns a bearer token into its principal; throws the problem `auth_required` for every token it does not accept. */
export type VerifyToken = (token: string) => Promise<Principal>
