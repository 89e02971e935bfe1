import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import Provider, { type Account } from 'oidc-provider'

export interface ProviderPerson {
  readonly email: string
  readonly email_verified: boolean
  readonly groups?: readonly string[]
  readonly amr?: readonly string[]
}

export interface IdentityProviderNode {
  readonly issuer: string
  /** By login name, which is also the `sub`. */
  readonly persons: Map<string, ProviderPerson>
  readonly clientId: string
  readonly clientSecret: string
  /** Goes through the login form and the consent as a browser does; gives the query that it is sent back with. */
  signOn(authorizationUrl: string, login: string): Promise<string>
  close(): Promise<void>
}

/** A real OpenID provider on loopback that takes any password. */
export async function startIdentityProvider(redirectUrl: string): Promise<IdentityProviderNode> {
  const persons = new Map<string, ProviderPerson>()
  const [clientId, clientSecret] = ['the-hub', 'the-secret-of-the-hub-at-the-provider']
  // The port has to be known before the provider, which has its own address in everything it signs.
  const server: Server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const provider = new Provider(issuer, {
    clients: [{ client_id: clientId, client_secret: clientSecret, redirect_uris: [redirectUrl] }],
    pkce: { required: () => true },
    // All claims in the ID token, as most providers do.
    conformIdTokenClaims: false,
    claims: { openid: ['sub', 'groups', 'amr'], email: ['email', 'email_verified'], profile: ['name'] },
    features: { devInteractions: { enabled: true } },
    cookies: { keys: ['a key of the test'] },
    findAccount: (_context, sub): Account => ({
      accountId: sub,
      claims: () =>
        ({ sub, name: sub, ...persons.get(sub), amr: undefined }) as Awaited<ReturnType<Account['claims']>>,
    }),
  })
  // How somebody signed on is for the login page to say; the page for development does not.
  const sessions = provider.Session.prototype
  const { loginAccount } = sessions
  sessions.loginAccount = function (details) {
    loginAccount.call(this, { ...details, amr: [...(persons.get(details.accountId)?.amr ?? [])] })
  }
  provider.on('server_error', () => undefined)
  server.on('request', provider.callback())

  return {
    issuer,
    persons,
    clientId,
    clientSecret,
    signOn: async (authorizationUrl, login) => {
      const cookies = new Map<string, string>()
      const visit = async (url: string, form?: Record<string, string>): Promise<Response> => {
        const answer = await fetch(url, {
          redirect: 'manual',
          headers: { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') },
          ...(form && { method: 'POST', body: new URLSearchParams(form) }),
        })
        for (const line of answer.headers.getSetCookie()) {
          const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
          cookies.set(name, value)
        }
        return answer
      }
      let answer = await visit(authorizationUrl)
      for (let step = 0; step < 12; step += 1) {
        const location = answer.headers.get('location')
        if (location !== null) {
          const next = new URL(location, issuer)
          if (next.origin !== issuer) return next.search.slice(1)
          answer = await visit(next.href)
          continue
        }
        const page = await answer.text()
        const action = /<form[^>]*action="([^"]+)"/.exec(page)?.[1]
        const prompt = /name="prompt" value="([^"]+)"/.exec(page)?.[1]
        if (action === undefined || prompt === undefined) throw new Error(`no form: ${page.slice(0, 400)}`)
        answer = await visit(new URL(action, issuer).href, { prompt, login, password: 'any' })
      }
      throw new Error('the provider did not send the browser back')
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
