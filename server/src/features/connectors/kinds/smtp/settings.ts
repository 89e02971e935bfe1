import { X509Certificate } from 'node:crypto'
import { type Static, Type } from 'typebox'
import type { ProblemDetail } from '../../../../problems.ts'
import { parseMailbox } from './address.ts'

const HOST_NAME =
  '^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)(\\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$'

export const SmtpSettings = Type.Object(
  {
    host: Type.String({
      title: 'Host',
      minLength: 1,
      maxLength: 253,
      description: 'Name or address of the mail server that takes the messages, e.g. `smtp.example.com`.',
    }),
    port: Type.Optional(
      Type.Integer({
        title: 'Port',
        minimum: 1,
        maximum: 65_535,
        description: 'Absent = 587 for `starttls`, 465 for `implicit`, 25 for `none`.',
      }),
    ),
    tls: Type.Enum(['starttls', 'implicit', 'none'], {
      title: 'Encryption',
      description:
        '`starttls`: the connection is upgraded, or given up. `implicit`: encrypted from the first byte. `none`: for a relay in your own network; no password is sent over it.',
    }),
    ca_certificate: Type.Optional(
      Type.String({
        title: 'Certificate authority',
        maxLength: 65_536,
        description:
          'PEM certificate that is trusted besides the usual ones, for a server with one of your own.',
      }),
    ),
    from: Type.Optional(
      Type.String({
        title: 'Sender',
        maxLength: 500,
        description:
          'Who sends where a message does not say: `shop@example.com` or `Shop <shop@example.com>`.',
      }),
    ),
    client_name: Type.Optional(
      Type.String({
        title: 'Own name',
        pattern: HOST_NAME,
        maxLength: 253,
        description: 'The name by which the hub greets the server (EHLO). Absent = the domain of the sender.',
      }),
    ),
    dkim: Type.Optional(
      Type.Object(
        {
          domain: Type.String({
            title: 'Domain',
            pattern: HOST_NAME,
            maxLength: 253,
            description: 'The domain that signs (`d=`).',
          }),
          selector: Type.String({
            title: 'Selector',
            pattern: HOST_NAME,
            maxLength: 63,
            description: 'Under which name the public key stands in DNS (`s=`).',
          }),
        },
        {
          additionalProperties: false,
          title: 'DKIM',
          description: 'Signs every message with the secret `dkim_private_key`. Absent = no signature.',
        },
      ),
    ),
  },
  { additionalProperties: false },
)
export type SmtpSettings = Static<typeof SmtpSettings>

const PORTS: Readonly<Record<SmtpSettings['tls'], number>> = { starttls: 587, implicit: 465, none: 25 }

export const serverOf = ({
  host,
  port,
  tls,
}: SmtpSettings): { readonly host: string; readonly port: number } => ({
  host,
  port: port ?? PORTS[tls],
})

export function smtpFaults(settings: SmtpSettings, secretNames: readonly string[]): ProblemDetail[] {
  const has = (name: string) => secretNames.includes(name)
  const faults: ProblemDetail[] = []
  const fault = (path: string, message: string) => faults.push({ path, message })
  if (has('username') !== has('password'))
    fault(`/secrets/${has('username') ? 'password' : 'username'}`, 'is missing: a login needs both')
  if (has('password') && settings.tls === 'none')
    fault('/settings/tls', 'must not be `none` with a login: the password would be sent in clear')
  if (settings.dkim && !has('dkim_private_key'))
    fault('/secrets/dkim_private_key', 'is missing: `dkim` needs it')
  if (!settings.dkim && has('dkim_private_key'))
    fault('/secrets/dkim_private_key', 'is not used: the settings have no `dkim`')
  if (settings.from !== undefined && !parseMailbox(settings.from))
    fault('/settings/from', 'is not an address such as shop@example.com or Shop <shop@example.com>')
  if (settings.ca_certificate !== undefined && !isCertificate(settings.ca_certificate))
    fault('/settings/ca_certificate', 'is not a certificate in PEM')
  return faults
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).subject !== undefined
  } catch {
    return false
  }
}
