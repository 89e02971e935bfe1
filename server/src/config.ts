/**
 * The only reader of the environment. It is read once, all faults are reported together, and the values
 * travel down as arguments. `docs/configuration.md` is generated from the schema.
 */
import { resolve } from 'node:path'
import { Ajv } from 'ajv'
import type { Static } from 'typebox'
import { furtherFaults, NO_NETWORK } from './config-faults.ts'
import { type PayloadConfig, payloadsOf } from './config-payloads.ts'
import { ConfigSchema } from './config-schema.ts'
import { type OidcConfig, oidcOf } from './config-sign-on.ts'
import { splitList } from './platform/networks.ts'
import { Secret } from './platform/secret.ts'

export { ConfigSchema } from './config-schema.ts'

/** Variables that hold secret values: `ORCH_SECRET__<WORKSPACE>__<NAME>`, read by `env://NAME`. */
export const SECRET_PREFIX = 'ORCH_SECRET__'

type Settings = Static<typeof ConfigSchema>

export interface Config {
  readonly environment: Settings['ORCHESTRATOR_ENV']
  readonly dataDir: string
  readonly keysDir: string
  readonly secretsDir: string
  /** Folder for the checkpoints of the audit log. */
  readonly auditCheckpointDir: string
  readonly databaseUrl: string | undefined
  /** With whom the schema is changed; absent: with whom everything is done. */
  readonly databaseOwnerUrl: string | undefined
  readonly redisUrl: string | undefined
  readonly limits: Settings['LIMITS']
  readonly host: string
  readonly ports: Readonly<Record<'control' | 'exec' | 'console' | 'ingress' | 'worker', number>>
  /** Where other processes of this hub are found; the console is nobody's dependency. */
  readonly urls: Readonly<Record<'control' | 'exec' | 'ingress' | 'worker', string>>
  /** The listener of emergencies; undefined = there is none. */
  readonly breakGlass:
    | {
        readonly host: string
        readonly port: number
        readonly allowCidrs: readonly string[]
        readonly alertUrl: string | undefined
      }
    | undefined
  readonly impersonationHeaders: boolean
  readonly trustedProxies: readonly string[]
  /** Of the control and exec listeners; undefined = plain HTTP. */
  readonly tls:
    | { readonly certFile: string; readonly keyFile: string; readonly clientCaFile: string | undefined }
    | undefined
  readonly apiBodyLimitBytes: number
  readonly webhookBodyLimitBytes: number
  /** Without a path. */
  readonly ingressPublicUrl: string | undefined
  /** How much of refused webhooks is kept. */
  readonly quarantine: {
    readonly keepDays: number
    readonly maxBytes: number
    readonly maxRows: number
    readonly maxBodyBytes: number
    /** Of what nothing has verified and no path of a route names. */
    readonly maxUnprovenBodyBytes: number
    /** Of each provider and reason. */
    readonly perSecond: number
  }
  readonly tokenIssuer: string
  readonly tokenTtlSeconds: number
  /** The key-encryption keys of what the hub keeps sealed. */
  readonly kek: {
    readonly source: Settings['KEK_SOURCE']
    readonly current: Secret | undefined
    readonly previous: readonly Secret[]
    readonly transit: { readonly mount: string; readonly key: string }
  }
  /** The identity provider of operators. */
  readonly oidc: OidcConfig | undefined
  /** The Vault of `vault://` refs. */
  readonly vault: {
    readonly address: string | undefined
    readonly namespace: string | undefined
    readonly prefix: string
    readonly token: Secret | undefined
    readonly tokenFile: string | undefined
    readonly roleId: string | undefined
    readonly secretId: Secret | undefined
    readonly secretIdFile: string | undefined
  }
  /** Where large bodies are kept. */
  readonly payloads: PayloadConfig
  readonly outboundAllowCidrs: readonly string[]
  readonly workerConcurrency: number
  readonly deadLetterBinDays: number
  /** How long what is kept, where a workspace says nothing of its own. */
  readonly keepDays: Readonly<
    Record<
      'jobs' | 'dead_letters' | 'events' | 'request_log' | 'webhook_inbox' | 'quarantine' | 'audit',
      number
    >
  >
  readonly dbPoolSize: number
  readonly slowQueryMs: number
  readonly stopGraceMs: number
  readonly logLevel: string
  /** undefined = decided by what is started; `-` = standard output. */
  readonly logFile: string | undefined
  readonly otlpEndpoint: string | undefined
  readonly verifyTargetUrl: string | undefined
  readonly demoWorkspaces: boolean
  /** Places at which the process kills itself; for tests. */
  readonly failPoints: readonly string[]
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
  faults.push(...furtherFaults(settings))
  if (faults.length > 0) throw new ConfigError(faults)
  const config = assemble(settings as Settings, env)
  return Object.freeze(config)
}

/** The base URL of a server of this machine that listens on `host`, also when that means every address. */
export function localUrl(host: string, portNumber: number, tls = false): string {
  const address = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host
  return `http${tls ? 's' : ''}://${address.includes(':') ? `[${address}]` : address}:${portNumber}`
}

function assemble(settings: Settings, env: Readonly<Record<string, string | undefined>>): Config {
  const environment = settings.ORCHESTRATOR_ENV
  const dataDir = resolve(settings.DATA_DIR)
  const embedded = settings.DATABASE_URL === undefined
  const { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile, TLS_CLIENT_CA_FILE: clientCaFile } = settings
  const tls =
    certFile !== undefined && keyFile !== undefined ? { certFile, keyFile, clientCaFile } : undefined
  return {
    environment,
    dataDir,
    keysDir: resolve(settings.KEYS_DIR ?? `${dataDir}/keys`),
    secretsDir: resolve(settings.SECRETS_DIR ?? `${dataDir}/secrets`),
    auditCheckpointDir: resolve(settings.AUDIT_CHECKPOINT_DIR ?? `${dataDir}/audit`),
    databaseUrl: settings.DATABASE_URL,
    databaseOwnerUrl: settings.DATABASE_OWNER_URL ?? settings.DATABASE_URL,
    redisUrl: settings.REDIS_URL,
    limits: settings.LIMITS,
    host: settings.HOST,
    ports: {
      control: settings.CONTROL_PORT,
      exec: settings.EXEC_PORT,
      console: settings.CONSOLE_PORT,
      ingress: settings.INGRESS_PORT,
      worker: settings.WORKER_PORT,
    },
    urls: {
      control: settings.CONTROL_URL ?? localUrl(settings.HOST, settings.CONTROL_PORT, tls !== undefined),
      exec: settings.EXEC_URL ?? localUrl(settings.HOST, settings.EXEC_PORT, tls !== undefined),
      ingress: settings.INGRESS_URL ?? localUrl(settings.HOST, settings.INGRESS_PORT),
      worker: settings.WORKER_URL ?? localUrl(settings.HOST, settings.WORKER_PORT),
    },
    breakGlass:
      settings.BREAK_GLASS_PORT === undefined
        ? undefined
        : {
            host: settings.BREAK_GLASS_HOST,
            port: settings.BREAK_GLASS_PORT,
            allowCidrs: splitList(settings.BREAK_GLASS_ALLOW_CIDRS),
            alertUrl: settings.BREAK_GLASS_ALERT_URL,
          },
    impersonationHeaders: settings.DEV_IMPERSONATION_HEADERS,
    trustedProxies: splitList(settings.TRUSTED_PROXIES),
    tls,
    apiBodyLimitBytes: settings.API_BODY_LIMIT_BYTES,
    webhookBodyLimitBytes: settings.WEBHOOK_BODY_LIMIT_BYTES,
    ingressPublicUrl: settings.INGRESS_PUBLIC_URL,
    quarantine: {
      keepDays: settings.QUARANTINE_KEEP_DAYS,
      maxBytes: settings.QUARANTINE_MAX_BYTES,
      maxRows: settings.QUARANTINE_MAX_ROWS,
      maxBodyBytes: settings.QUARANTINE_BODY_LIMIT_BYTES ?? settings.WEBHOOK_BODY_LIMIT_BYTES,
      maxUnprovenBodyBytes: settings.QUARANTINE_UNPROVEN_BODY_LIMIT_BYTES,
      perSecond: settings.QUARANTINE_PER_SECOND,
    },
    tokenIssuer: settings.TOKEN_ISSUER,
    tokenTtlSeconds: settings.TOKEN_TTL_SECONDS,
    kek: {
      source: settings.KEK_SOURCE,
      current: settings.KEK === undefined ? undefined : new Secret(settings.KEK),
      previous: splitList(settings.KEK_PREVIOUS).map((key) => new Secret(key)),
      transit: { mount: settings.VAULT_TRANSIT_MOUNT, key: settings.VAULT_TRANSIT_KEY },
    },
    oidc: oidcOf(settings),
    vault: {
      address: settings.VAULT_ADDR,
      namespace: settings.VAULT_NAMESPACE,
      prefix: settings.VAULT_PREFIX,
      token: settings.VAULT_TOKEN === undefined ? undefined : new Secret(settings.VAULT_TOKEN),
      tokenFile: settings.VAULT_TOKEN_FILE,
      roleId: settings.VAULT_ROLE_ID,
      secretId: settings.VAULT_SECRET_ID === undefined ? undefined : new Secret(settings.VAULT_SECRET_ID),
      secretIdFile: settings.VAULT_SECRET_ID_FILE,
    },
    payloads: payloadsOf(settings, dataDir),
    outboundAllowCidrs: splitList(
      settings.OUTBOUND_ALLOW_CIDRS ?? (environment === 'dev' ? '127.0.0.0/8,::1/128' : ''),
    ).filter((network) => network !== NO_NETWORK),
    workerConcurrency: settings.WORKER_CONCURRENCY,
    deadLetterBinDays: settings.DEAD_LETTER_BIN_DAYS,
    keepDays: {
      jobs: settings.KEEP_JOBS_DAYS,
      dead_letters: settings.KEEP_DEAD_LETTERS_DAYS,
      events: settings.KEEP_EVENTS_DAYS,
      request_log: settings.KEEP_REQUEST_LOG_DAYS,
      webhook_inbox: settings.KEEP_WEBHOOK_INBOX_DAYS,
      quarantine: settings.QUARANTINE_KEEP_DAYS,
      audit: settings.KEEP_AUDIT_DAYS,
    },
    dbPoolSize: settings.DB_POOL_SIZE,
    slowQueryMs: settings.SLOW_QUERY_MS,
    stopGraceMs: settings.STOP_GRACE_MS,
    logLevel: settings.LOG_LEVEL,
    logFile: settings.LOG_FILE,
    otlpEndpoint: settings.OTEL_EXPORTER_OTLP_ENDPOINT,
    verifyTargetUrl: settings.VERIFY_TARGET_URL,
    demoProductPort: settings.DEMO_PRODUCT_PORT,
    failPoints: splitList(settings.FAIL_POINTS),
    demoWorkspaces: settings.DEMO_WORKSPACES ?? (environment === 'dev' && embedded),
    secretVariables: new Map(
      Object.entries(env).flatMap(([name, value]) =>
        name.startsWith(SECRET_PREFIX) && value !== undefined ? [[name, value] as const] : [],
      ),
    ),
  }
}
