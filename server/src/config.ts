/**
 * The only reader of the environment. It is read once, all faults are reported together, and the values
 * travel down as arguments. `docs/configuration.md` is generated from the schema.
 */
import { resolve } from 'node:path'
import { Ajv } from 'ajv'
import { type Static, Type } from 'typebox'

const port = (name: string, fallback: number) =>
  Type.Integer({
    minimum: 1,
    maximum: 65_535,
    default: fallback,
    description: `Port of the ${name} process.`,
  })

const url = (name: string, description: string) =>
  Type.Optional(
    Type.String({
      pattern: '^https?://',
      description: `${description} Absent: \`http://<HOST>:<${name.toUpperCase()}_PORT>\`.`,
    }),
  )

export const ConfigSchema = Type.Object({
  ORCHESTRATOR_ENV: Type.Enum(['dev', 'prod'], {
    default: 'dev',
    description: 'Environment of this hub. It serves only workspaces whose slug ends in `-dev` or `-prod`.',
  }),
  DATA_DIR: Type.String({
    minLength: 1,
    default: '.orchestrator',
    description: 'Folder for everything that must survive a restart: embedded Postgres, signing keys, logs.',
  }),
  DATABASE_URL: Type.Optional(
    Type.String({
      pattern: '^postgres(ql)?://',
      description:
        'Postgres 15 or newer. Absent: `start all` runs its own embedded Postgres in `DATA_DIR`; every other start needs it.',
    }),
  ),
  HOST: Type.String({
    minLength: 1,
    default: '127.0.0.1',
    description: 'Address to listen on. Behind a proxy or in a container: `0.0.0.0`.',
  }),
  CONTROL_PORT: port('control', 4000),
  EXEC_PORT: port('exec', 4001),
  CONSOLE_PORT: port('console', 4002),
  INGRESS_PORT: port('ingress', 4003),
  WORKER_PORT: port('worker', 4004),
  DEMO_PRODUCT_PORT: Type.Integer({
    minimum: 1,
    maximum: 65_535,
    default: 4010,
    description:
      'Port on which `orchestrator trigger` takes callbacks, as the product of the demo workspaces.',
  }),
  CONTROL_URL: url('control', 'Where the console and the CLI find the control process.'),
  EXEC_URL: url('exec', 'Where control finds the exec process for the status page.'),
  INGRESS_URL: url('ingress', 'Where control finds the ingress process for the status page.'),
  WORKER_URL: url('worker', 'Where control finds a worker process for the status page.'),
  TRUSTED_PROXIES: Type.String({
    default: '',
    description:
      'Addresses or CIDRs, separated by commas, whose `X-Forwarded-*` headers are believed. Empty: none.',
  }),
  API_BODY_LIMIT_BYTES: Type.Integer({
    minimum: 1_024,
    maximum: 26_214_400,
    default: 5_242_880,
    description: 'Largest body of a call to control or exec.',
  }),
  WEBHOOK_BODY_LIMIT_BYTES: Type.Integer({
    minimum: 1_024,
    maximum: 26_214_400,
    default: 1_048_576,
    description: 'Largest body of a webhook.',
  }),
  TOKEN_ISSUER: Type.String({
    minLength: 1,
    default: 'orchestrator',
    description: 'The `iss` claim of the tokens that this hub issues and accepts.',
  }),
  TOKEN_TTL_SECONDS: Type.Integer({
    minimum: 60,
    maximum: 3_600,
    default: 600,
    description: 'Life of a token from `POST /oauth/token`, and the default of `orchestrator token`.',
  }),
  KEYS_DIR: Type.Optional(
    Type.String({
      minLength: 1,
      description:
        'Folder of the signing keys; all processes of one hub share it. Absent: `<DATA_DIR>/keys`.',
    }),
  ),
  SECRETS_DIR: Type.Optional(
    Type.String({
      minLength: 1,
      description:
        'Root of `file://` secret refs: `file://NAME` of a workspace reads `<SECRETS_DIR>/<workspace slug>/NAME`. Absent: `<DATA_DIR>/secrets`.',
    }),
  ),
  OUTBOUND_ALLOW_CIDRS: Type.Optional(
    Type.String({
      description:
        'Networks, separated by commas, that outgoing calls may reach although they are private or loopback. Cloud metadata addresses stay forbidden. Absent: loopback in dev, none in prod.',
    }),
  ),
  WORKER_CONCURRENCY: Type.Integer({
    minimum: 1,
    maximum: 1_000,
    default: 50,
    description: 'Jobs that one worker process runs at the same time.',
  }),
  DEAD_LETTER_BIN_DAYS: Type.Integer({
    minimum: 1,
    maximum: 365,
    default: 14,
    description: 'How long purged dead letters can be restored before the bin is emptied of them.',
  }),
  DB_POOL_SIZE: Type.Integer({
    minimum: 2,
    maximum: 100,
    default: 10,
    description: 'Database connections of one process.',
  }),
  SLOW_QUERY_MS: Type.Integer({
    minimum: 1,
    maximum: 60_000,
    default: 250,
    description: 'A statement that takes longer is logged by name.',
  }),
  STOP_GRACE_MS: Type.Integer({
    minimum: 0,
    maximum: 300_000,
    default: 20_000,
    description: 'How long a stopping process waits for calls and jobs in flight before it hands them back.',
  }),
  LOG_LEVEL: Type.Enum(['debug', 'info', 'warn', 'error', 'silent'], {
    default: 'info',
    description: 'Least important level that is logged.',
  }),
  LOG_FILE: Type.Optional(
    Type.String({
      description:
        'File for the log; `-` is standard output. Absent: `<DATA_DIR>/logs/orchestrator.log` for `start all` on embedded Postgres, otherwise standard output.',
    }),
  ),
  OTEL_EXPORTER_OTLP_ENDPOINT: Type.Optional(
    Type.String({
      pattern: '^https?://',
      description: 'OTLP/HTTP collector for traces. Absent: traces are not recorded, trace ids still work.',
    }),
  ),
  DEMO_WORKSPACES: Type.Optional(
    Type.Boolean({
      description:
        'Whether `start all` creates `buildos-dev` and `beauty-dev` with a connector to try. Absent: true in dev on embedded Postgres, otherwise false.',
    }),
  ),
})

/** Variables that hold secret values: `ORCH_SECRET__<WORKSPACE>__<NAME>`, read by `env://NAME`. */
export const SECRET_PREFIX = 'ORCH_SECRET__'

type Settings = Static<typeof ConfigSchema>

export interface Config {
  readonly environment: Settings['ORCHESTRATOR_ENV']
  readonly dataDir: string
  readonly keysDir: string
  readonly secretsDir: string
  readonly databaseUrl: string | undefined
  readonly host: string
  readonly ports: Readonly<Record<'control' | 'exec' | 'console' | 'ingress' | 'worker', number>>
  /** Where other processes of this hub are found; the console is nobody's dependency. */
  readonly urls: Readonly<Record<'control' | 'exec' | 'ingress' | 'worker', string>>
  readonly trustedProxies: readonly string[]
  readonly apiBodyLimitBytes: number
  readonly webhookBodyLimitBytes: number
  readonly tokenIssuer: string
  readonly tokenTtlSeconds: number
  readonly outboundAllowCidrs: readonly string[]
  readonly workerConcurrency: number
  readonly deadLetterBinDays: number
  readonly dbPoolSize: number
  readonly slowQueryMs: number
  readonly stopGraceMs: number
  readonly logLevel: string
  /** undefined = decided by what is started; `-` = standard output. */
  readonly logFile: string | undefined
  readonly otlpEndpoint: string | undefined
  readonly demoWorkspaces: boolean
  readonly demoProductPort: number
  /** Secret variables by their full name. */
  readonly secretVariables: ReadonlyMap<string, string>
}

/** All faults of the environment at once, each a line that names the variable. Values are not repeated. */
export class ConfigError extends Error {
  readonly faults: readonly string[]

  constructor(faults: readonly string[]) {
    super(`The configuration is not valid:\n${faults.map((fault) => `  ${fault}`).join('\n')}`)
    this.name = 'ConfigError'
    this.faults = faults
  }
}

const list = (text: string): string[] =>
  text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')

/** Reads, checks and freezes the configuration. `env` is `process.env` in the product and a map in tests. */
export function loadConfig(env: Readonly<Record<string, string | undefined>> = process.env): Config {
  const settings: Record<string, unknown> = {}
  for (const name of Object.keys(ConfigSchema.properties)) {
    // An empty variable is an unset one: that is how compose files and shells leave a default alone.
    if (env[name] !== undefined && env[name] !== '') settings[name] = env[name]
  }
  const validate = new Ajv({ allErrors: true, coerceTypes: true, useDefaults: true }).compile<Settings>(
    ConfigSchema,
  )
  const faults = validate(settings)
    ? []
    : (validate.errors ?? []).map(
        ({ instancePath, message, params }) =>
          `${instancePath.slice(1)} ${message}${'allowedValues' in params ? `: ${params.allowedValues.join(', ')}` : ''}`,
      )
  if (typeof settings.DATABASE_URL === 'string' && !URL.canParse(settings.DATABASE_URL))
    faults.push('DATABASE_URL must be a URL: special characters of the password are percent-encoded')
  if (faults.length > 0) throw new ConfigError(faults)
  const config = assemble(settings as Settings, env)
  const ports = [...Object.entries(config.ports), ['demo_product', config.demoProductPort] as const]
  for (const [at, [name, value]] of ports.entries()) {
    const other = ports.slice(0, at).find(([, taken]) => taken === value)
    if (other)
      faults.push(`${name.toUpperCase()}_PORT is the same as ${other[0].toUpperCase()}_PORT (${value})`)
  }
  if (faults.length > 0) throw new ConfigError(faults)
  return Object.freeze(config)
}

/** The base URL of a server of this machine that listens on `host`, also when that means every address. */
export function localUrl(host: string, portNumber: number): string {
  const address = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host
  return `http://${address.includes(':') ? `[${address}]` : address}:${portNumber}`
}

function assemble(settings: Settings, env: Readonly<Record<string, string | undefined>>): Config {
  const environment = settings.ORCHESTRATOR_ENV
  const dataDir = resolve(settings.DATA_DIR)
  const embedded = settings.DATABASE_URL === undefined
  return {
    environment,
    dataDir,
    keysDir: resolve(settings.KEYS_DIR ?? `${dataDir}/keys`),
    secretsDir: resolve(settings.SECRETS_DIR ?? `${dataDir}/secrets`),
    databaseUrl: settings.DATABASE_URL,
    host: settings.HOST,
    ports: {
      control: settings.CONTROL_PORT,
      exec: settings.EXEC_PORT,
      console: settings.CONSOLE_PORT,
      ingress: settings.INGRESS_PORT,
      worker: settings.WORKER_PORT,
    },
    urls: {
      control: settings.CONTROL_URL ?? localUrl(settings.HOST, settings.CONTROL_PORT),
      exec: settings.EXEC_URL ?? localUrl(settings.HOST, settings.EXEC_PORT),
      ingress: settings.INGRESS_URL ?? localUrl(settings.HOST, settings.INGRESS_PORT),
      worker: settings.WORKER_URL ?? localUrl(settings.HOST, settings.WORKER_PORT),
    },
    trustedProxies: list(settings.TRUSTED_PROXIES),
    apiBodyLimitBytes: settings.API_BODY_LIMIT_BYTES,
    webhookBodyLimitBytes: settings.WEBHOOK_BODY_LIMIT_BYTES,
    tokenIssuer: settings.TOKEN_ISSUER,
    tokenTtlSeconds: settings.TOKEN_TTL_SECONDS,
    outboundAllowCidrs: list(
      settings.OUTBOUND_ALLOW_CIDRS ?? (environment === 'dev' ? '127.0.0.0/8,::1/128' : ''),
    ),
    workerConcurrency: settings.WORKER_CONCURRENCY,
    deadLetterBinDays: settings.DEAD_LETTER_BIN_DAYS,
    dbPoolSize: settings.DB_POOL_SIZE,
    slowQueryMs: settings.SLOW_QUERY_MS,
    stopGraceMs: settings.STOP_GRACE_MS,
    logLevel: settings.LOG_LEVEL,
    logFile: settings.LOG_FILE,
    otlpEndpoint: settings.OTEL_EXPORTER_OTLP_ENDPOINT,
    demoProductPort: settings.DEMO_PRODUCT_PORT,
    demoWorkspaces: settings.DEMO_WORKSPACES ?? (environment === 'dev' && embedded),
    secretVariables: new Map(
      Object.entries(env).flatMap(([name, value]) =>
        name.startsWith(SECRET_PREFIX) && value !== undefined ? [[name, value] as const] : [],
      ),
    ),
  }
}
