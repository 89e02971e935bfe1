import { Type } from 'typebox'
import { payloadSettings } from './config-payloads.ts'
import { QUARANTINE_SETTINGS } from './config-quarantine.ts'
import { SECRET_SETTINGS } from './config-secrets.ts'
import { signOnSettings } from './config-sign-on.ts'

const port = (name: string, fallback: number) =>
  Type.Integer({
    minimum: 1,
    maximum: 65_535,
    default: fallback,
    description: `Port of the ${name} process.`,
  })

const whole = (minimum: number, maximum: number, fallback: number, description: string) =>
  Type.Integer({ minimum, maximum, default: fallback, description })

/** Partitions are made from two days back on: what is younger cannot go. */
const keep = (fallback: number, description: string) => whole(2, 3_650, fallback, description)

const url = (name: string, description: string) =>
  Type.Optional(
    Type.String({
      pattern: '^https?://',
      description: `${description} Absent: \`http://<HOST>:<${name.toUpperCase()}_PORT>\`.`,
    }),
  )

/** Every setting by the name of its environment variable; `docs/configuration.md` is generated from it. */
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
  DATABASE_OWNER_URL: Type.Optional(
    Type.String({
      pattern: '^postgres(ql)?://',
      description:
        'The same database as the role that owns the schema: `migrate` and `start all` change the schema with it, and the login of `DATABASE_URL` needs no right to (docs/database.md). Absent: they use `DATABASE_URL`.',
    }),
  ),
  REDIS_URL: Type.Optional(
    Type.String({
      pattern: '^rediss?://',
      description:
        'Redis 6.2 or newer, single or Redis Cluster, in which exec and worker processes share rate limits and breakers: `redis[s]://[[user]:password@]host[:port][/database]`; several nodes of one cluster are separated by commas, and one of them is enough. Nothing in it must survive: while it is gone, each process holds its part of every limit. Absent: limits are kept in memory, for one process.',
    }),
  ),
  LIMITS: Type.Enum(['shared', 'per-node'], {
    default: 'shared',
    description:
      '`shared`: rate limits and breakers hold over all exec and worker processes; a second one needs REDIS_URL, and is refused without it. `per-node`: each process counts alone, so that n processes let up to n times as many calls pass.',
  }),
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
  DEMO_PRODUCT_PORT: whole(
    1,
    65_535,
    4010,
    'Port on which `orchestrator trigger` takes callbacks, as the product of the demo workspaces.',
  ),
  CONTROL_URL: url('control', 'Where the console and the CLI find the control process.'),
  EXEC_URL: url('exec', 'Where control finds the exec process for the status page.'),
  INGRESS_URL: url('ingress', 'Where control finds the ingress process for the status page.'),
  WORKER_URL: url('worker', 'Where control finds a worker process for the status page.'),
  BREAK_GLASS_PORT: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: 65_535,
      description:
        'Port of the break-glass listener of the control process, for emergency sessions. Absent: there is none.',
    }),
  ),
  BREAK_GLASS_HOST: Type.String({
    minLength: 1,
    default: '127.0.0.1',
    description: 'Address that the break-glass listener listens on.',
  }),
  BREAK_GLASS_ALLOW_CIDRS: Type.String({
    minLength: 1,
    default: '127.0.0.0/8,::1/128',
    description: 'Networks, separated by commas, whose calls the break-glass listener answers.',
  }),
  BREAK_GLASS_ALERT_URL: Type.Optional(
    Type.String({
      pattern: '^https?://',
      description:
        'Where the alert of an emergency session is posted before it begins; when it is not taken with a 2xx, no session begins. Prod needs it with BREAK_GLASS_PORT; elsewhere its absence leaves events and audit entries to tell.',
    }),
  ),
  DEV_IMPERSONATION_HEADERS: Type.Boolean({
    default: false,
    description:
      'For development, refused in prod: whether `x-impersonate-operator` lets an Admin act as a member without a token of its own.',
  }),
  TRUSTED_PROXIES: Type.String({
    default: '',
    description:
      'Addresses or CIDRs, separated by commas, whose `X-Forwarded-*` headers are believed. Empty: none.',
  }),
  TLS_CERT_FILE: Type.Optional(
    Type.String({
      minLength: 1,
      description:
        'PEM certificate, with its chain, of the control and exec listeners, which then speak HTTPS only. Read again when it changes. Absent: plain HTTP, for behind a proxy.',
    }),
  ),
  TLS_KEY_FILE: Type.Optional(
    Type.String({ minLength: 1, description: 'PEM private key of TLS_CERT_FILE.' }),
  ),
  TLS_CLIENT_CA_FILE: Type.Optional(
    Type.String({
      minLength: 1,
      description:
        'PEM certificates of the authorities whose client certificates count (mutual TLS, RFC 8705). A client certificate is asked for, and needed only for tokens that are bound to one. Absent: none counts.',
    }),
  ),
  API_BODY_LIMIT_BYTES: whole(1_024, 26_214_400, 5_242_880, 'Largest body of a call to control or exec.'),
  WEBHOOK_BODY_LIMIT_BYTES: whole(1_024, 26_214_400, 5_242_880, 'Largest body of a webhook.'),
  INGRESS_PUBLIC_URL: Type.Optional(
    Type.String({
      pattern: '^https?://[^/?#@\\s]+$',
      description:
        'Where providers reach the ingress, without a path, e.g. `https://hooks.example.com`. Providers that sign the address (Twilio) need it; the Host header is never believed.',
    }),
  ),
  ...QUARANTINE_SETTINGS,
  TOKEN_ISSUER: Type.String({
    minLength: 1,
    default: 'orchestrator',
    description: 'The `iss` claim of the tokens that this hub issues and accepts.',
  }),
  TOKEN_TTL_SECONDS: whole(
    60,
    3_600,
    600,
    'Life of a token from `POST /oauth/token`, and the default of `orchestrator token`.',
  ),
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
  AUDIT_CHECKPOINT_DIR: Type.Optional(
    Type.String({
      minLength: 1,
      description:
        'Folder to which control appends signed checkpoints of the audit log (docs/audit.md). Better on a disk or share that whoever administers the database cannot write. Absent: `<DATA_DIR>/audit`.',
    }),
  ),
  ...SECRET_SETTINGS,
  ...payloadSettings,
  OUTBOUND_ALLOW_CIDRS: Type.Optional(
    Type.String({
      description:
        'Networks, separated by commas, that outgoing calls may reach although they are private or loopback. Cloud metadata addresses stay forbidden. `none` closes all. Absent: loopback in dev, none in prod.',
    }),
  ),
  WORKER_CONCURRENCY: whole(1, 1_000, 50, 'Jobs that one worker process runs at the same time.'),
  DEAD_LETTER_BIN_DAYS: whole(
    1,
    365,
    14,
    'How long purged dead letters can be restored before the bin is emptied of them.',
  ),
  KEEP_JOBS_DAYS: keep(
    14,
    'Days that jobs are kept after their end. Unfinished jobs and dead letters are kept longer.',
  ),
  KEEP_DEAD_LETTERS_DAYS: keep(90, 'Days after which a dead letter moves into the bin by itself.'),
  KEEP_AUDIT_DAYS: whole(
    30,
    3_650,
    365,
    'Days that audit entries are kept; then they go up to a signed checkpoint, which vouches for the rest of the chain.',
  ),
  QUARANTINE_KEEP_DAYS: keep(7, 'Days that webhooks are kept in quarantine.'),
  KEEP_EVENTS_DAYS: keep(30, 'Days that events are kept.'),
  KEEP_REQUEST_LOG_DAYS: keep(30, 'Days that the request log of `/execute` is kept.'),
  KEEP_WEBHOOK_INBOX_DAYS: keep(
    30,
    'Days that received webhooks are kept. Those that are held, or whose delivery is unfinished or a dead letter, are kept longer.',
  ),
  DB_POOL_SIZE: whole(
    2,
    100,
    10,
    'Database connections of one process; control and exec have as many again for what callers ask for their own workspace.',
  ),
  SLOW_QUERY_MS: whole(1, 60_000, 250, 'A statement that takes longer is logged by name.'),
  STOP_GRACE_MS: whole(
    0,
    300_000,
    20_000,
    'How long a stopping process waits for calls and jobs in flight before it hands them back.',
  ),
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
  ...signOnSettings,
  VERIFY_TARGET_URL: Type.Optional(
    Type.String({
      pattern: '^https?://',
      description:
        'Where `orchestrator onboard target` listens: the upstream that `orchestrator onboard verify` calls. Absent: one that control starts on loopback for the run, where outgoing calls may reach loopback.',
    }),
  ),
  FAIL_POINTS: Type.String({
    default: '',
    description:
      'For tests of crashes, never in prod: names of places, separated by commas, at which the process kills itself.',
  }),
  DEMO_WORKSPACES: Type.Optional(
    Type.Boolean({
      description:
        'Whether `start all` creates `buildos-dev` and `beauty-dev` with a connector to try. Absent: true in dev on embedded Postgres, otherwise false.',
    }),
  ),
})
