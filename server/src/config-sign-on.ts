/** Settings of how operators sign on. Part of `config.ts`. */
import { type Static, Type } from 'typebox'
import { splitList } from './platform/networks.ts'
import { Secret } from './platform/secret.ts'

export const signOnSettings = {
  OIDC_ISSUER: Type.Optional(
    Type.String({
      pattern: '^https?://',
      description:
        'Identity provider with which operators may sign on (OpenID Connect). Absent: by password only. In prod https only.',
    }),
  ),
  OIDC_CLIENT_ID: Type.Optional(
    Type.String({ minLength: 1, description: 'What the hub is called at OIDC_ISSUER.' }),
  ),
  OIDC_CLIENT_SECRET: Type.Optional(
    Type.String({ minLength: 1, description: 'Its secret there. Absent: a public client with PKCE.' }),
  ),
  OIDC_CLIENT_SECRET_FILE: Type.Optional(
    Type.String({ minLength: 1, description: 'File with that secret, instead of OIDC_CLIENT_SECRET.' }),
  ),
  OIDC_REDIRECT_URL: Type.Optional(
    Type.String({
      pattern: '^https?://',
      description: 'Where OIDC_ISSUER sends the browser back to: the callback page of the console.',
    }),
  ),
  OIDC_MFA_VALUES: Type.String({
    default: '',
    description:
      'Values of the claims `acr` and `amr`, separated by commas, that mean that OIDC_ISSUER has asked for a second factor. Empty: the hub asks for its own.',
  }),
  OIDC_GROUPS_CLAIM: Type.String({
    minLength: 1,
    default: 'groups',
    description: 'Claim of the ID token that lists the groups of a person.',
  }),
  OIDC_GROUP_ROLES: Type.String({
    default: '',
    description:
      'Roles that groups give for as long as a session lasts, separated by commas: `group=support@buildos-dev`, `group=platform_auditor`. Never a role of an admin: those are invited by name.',
  }),
}

const SignOnSettings = Type.Object(signOnSettings)

export interface OidcConfig {
  readonly issuer: string
  readonly clientId: string
  readonly clientSecret: Secret | undefined
  readonly clientSecretFile: string | undefined
  readonly redirectUrl: string
  readonly mfaValues: readonly string[]
  readonly groupsClaim: string
  /** As it was written; whoever uses it reads it. */
  readonly groupRoles: string
}

/** The identity provider of operators; undefined = there is none. */
export const oidcOf = (settings: Static<typeof SignOnSettings>): OidcConfig | undefined =>
  settings.OIDC_ISSUER === undefined
    ? undefined
    : {
        issuer: settings.OIDC_ISSUER,
        clientId: settings.OIDC_CLIENT_ID ?? '',
        clientSecret:
          settings.OIDC_CLIENT_SECRET === undefined ? undefined : new Secret(settings.OIDC_CLIENT_SECRET),
        clientSecretFile: settings.OIDC_CLIENT_SECRET_FILE,
        redirectUrl: settings.OIDC_REDIRECT_URL ?? '',
        mfaValues: splitList(settings.OIDC_MFA_VALUES),
        groupsClaim: settings.OIDC_GROUPS_CLAIM,
        groupRoles: settings.OIDC_GROUP_ROLES,
      }

/** Half of an identity provider, and one that anybody on the way could be. */
export function oidcFaults(text: (name: string) => string): string[] {
  const faults: string[] = []
  const needed = ['OIDC_ISSUER', 'OIDC_CLIENT_ID', 'OIDC_REDIRECT_URL']
  const others = ['OIDC_CLIENT_SECRET', 'OIDC_CLIENT_SECRET_FILE', 'OIDC_MFA_VALUES', 'OIDC_GROUP_ROLES']
  const isSet = (name: string): boolean => text(name) !== ''
  if ([...needed, ...others].some(isSet) && !needed.every(isSet))
    faults.push(`${needed.join(', ')} belong together: set all or none`)
  if (isSet('OIDC_CLIENT_SECRET') && isSet('OIDC_CLIENT_SECRET_FILE'))
    faults.push('OIDC_CLIENT_SECRET and OIDC_CLIENT_SECRET_FILE exclude each other')
  for (const name of ['OIDC_ISSUER', 'OIDC_REDIRECT_URL'])
    if (isSet(name) && !URL.canParse(text(name))) faults.push(`${name} must be a URL`)
    else if (text('ORCHESTRATOR_ENV') === 'prod' && isSet(name) && !text(name).startsWith('https:'))
      faults.push(`${name} must be https in prod`)
  return faults
}
