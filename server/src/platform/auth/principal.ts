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
  /** The `iat` claim in milliseconds since the epoch: what was cut off at a moment ends what was issued before it. */
  readonly issuedAt: number
  /** The `exp` claim in milliseconds since the epoch: a stream that outlives its token must end. */
  readonly expiresAt: number
  /** The `sid` claim: the sign-on that the token came from, and ends with. */
  readonly sessionId?: string
  /** `sub` of the `act` claim (RFC 8693 §4.1): who really calls, when the subject is impersonated. */
  readonly impersonator?: string
  /** With an impersonator: only what changes nothing is allowed. */
  readonly readOnly?: boolean
  /** `x5t#S256` of the `cnf` claim (RFC 8705 §3.1): the caller must hold this client certificate. */
  readonly certificateSha256?: string
}

/** Turns a bearer token into its principal; throws the problem `auth_required` for every token it does not accept. */
export type VerifyToken = (token: string) => Promise<Principal>
