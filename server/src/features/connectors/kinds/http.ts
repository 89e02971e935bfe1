import { type ConnectorDefinition, defineConnector } from '../define-connector.ts'
import { httpFaults } from './http/checks.ts'
import { checkHttpHealth } from './http/health.ts'
import { createTokenSource, type TokenSource } from './http/oauth.ts'
import { compileOperation } from './http/operation.ts'
import { HttpSettings } from './http/settings.ts'

/** One source of tokens per compiled connector, and with its settings it goes. */
const tokenSources = new WeakMap<HttpSettings, TokenSource>()

function tokensOf(settings: HttpSettings): TokenSource {
  const known = tokenSources.get(settings)
  if (known) return known
  const made = createTokenSource(settings.auth?.oauth2 ?? { token_url: '', client_id: '' })
  tokenSources.set(settings, made)
  return made
}

const targets: ConnectorDefinition<typeof HttpSettings, string>['targets'] = ({
  base_url: baseUrl,
  auth,
}) => [
  { path: '/settings/base_url', url: baseUrl },
  ...(auth?.oauth2 ? [{ path: '/settings/auth/oauth2/token_url', url: auth.oauth2.token_url }] : []),
]

/** Any HTTP API, described by its operations in the config. */
export const http = defineConnector({
  kind: 'http',
  title: 'HTTP API',
  description:
    'Calls an HTTP API by operations that you describe: method, path, headers, query, body and schemas.',
  settings: HttpSettings,
  secrets: {
    token: {
      title: 'Token',
      description: 'For `auth` of type bearer, header or query: the bearer token or API key.',
      required: false,
    },
    password: {
      title: 'Password',
      description: 'For `auth` of type basic: the password of `username`.',
      required: false,
    },
    signing_key: {
      title: 'Signing key',
      description: 'For `auth` of type hmac: the key that both sides know, taken as the bytes of its text.',
      required: false,
    },
    client_secret: {
      title: 'Client secret',
      description: 'For `auth` of type oauth2: the secret of `client_id`.',
      required: false,
    },
  },
  check: httpFaults,
  targets,
  operations: (settings) =>
    Object.fromEntries(
      Object.entries(settings.operations).map(([name, operation]) => [
        name,
        compileOperation(name, operation, settings, tokensOf(settings)),
      ]),
    ),
  checkHealth: (settings, context) => checkHttpHealth(settings, tokensOf(settings), context),
})
