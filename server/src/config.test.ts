import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { ConfigError, loadConfig } from './config.ts'

describe('loadConfig', () => {
  test('an empty environment gives a hub that runs: defaults, embedded database, demo workspaces', () => {
    const config = loadConfig({})
    expect(config.ports).toEqual({ control: 4000, exec: 4001, console: 4002, ingress: 4003, worker: 4004 })
    expect(config.databaseUrl).toBeUndefined()
    expect(config.demoWorkspaces).toBe(true)
    expect(config.keysDir).toBe(`${config.dataDir}/keys`)
  })

  test('all faults are reported together, each by the name of its variable and without its value', () => {
    const secret = 'mysql://user:hunter2@db/x'
    const load = () => loadConfig({ EXEC_PORT: 'many', ORCHESTRATOR_ENV: 'staging', DATABASE_URL: secret })
    expect(load).toThrow(ConfigError)
    try {
      load()
    } catch (error) {
      const text = (error as ConfigError).faults.join('\n')
      expect(text).toMatch(/EXEC_PORT must be integer/)
      expect(text).toMatch(/ORCHESTRATOR_ENV .*dev, prod/)
      expect(text).toMatch(/DATABASE_URL/)
      expect(text).not.toContain('hunter2')
    }
  })

  test('networks are checked here and not when the first call goes out', () => {
    expect(() => loadConfig({ OUTBOUND_ALLOW_CIDRS: 'zz', TRUSTED_PROXIES: 'nope' })).toThrow(
      /OUTBOUND_ALLOW_CIDRS holds[\s\S]*TRUSTED_PROXIES holds/,
    )
    expect(loadConfig({ TRUSTED_PROXIES: '10.0.0.1, 10.1.0.0/16' }).trustedProxies).toHaveLength(2)
    expect(loadConfig({ OUTBOUND_ALLOW_CIDRS: 'none' }).outboundAllowCidrs).toEqual([])
  })

  test('two processes cannot have the same port', () => {
    expect(() => loadConfig({ EXEC_PORT: '4000' })).toThrow(/EXEC_PORT is the same as CONTROL_PORT/)
    expect(() => loadConfig({ DEMO_PRODUCT_PORT: '4004' })).toThrow(
      /DEMO_PRODUCT_PORT is the same as WORKER_PORT/,
    )
  })

  test('a password with a bare # makes no URL, and the message does not repeat it', () => {
    const load = () => loadConfig({ DATABASE_URL: 'postgres://hub:ge#heim@db:5432/hub' })
    expect(load).toThrow(/DATABASE_URL must be a URL/)
    const DATABASE_OWNER_URL = 'postgres://owner:pw@db/hub'
    expect(() => loadConfig({ DATABASE_OWNER_URL })).toThrow(/DATABASE_OWNER_URL needs DATABASE_URL/)
    const DATABASE_URL = 'postgres://app:pw@db/hub'
    expect(loadConfig({ DATABASE_URL, DATABASE_OWNER_URL }).databaseOwnerUrl).toBe(DATABASE_OWNER_URL)
    expect(loadConfig({ DATABASE_URL }).databaseOwnerUrl).toBe(DATABASE_URL)
    expect(load).not.toThrow(/heim/)
  })

  test('Redis is checked here, too, and its password is not repeated', () => {
    expect(loadConfig({}).redisUrl).toBeUndefined()
    const url = 'rediss://:hunter2@cache-0:6379,rediss://:hunter2@cache-1:6379'
    expect(loadConfig({ REDIS_URL: url }).redisUrl).toBe(url)
    for (const [wrong, said] of [
      ['redis://:hunter2#x@cache', /REDIS_URL must be redis:/],
      ['redis://:hunter2@cache,redis://cache', /REDIS_URL names servers that differ/],
    ] as const) {
      expect(() => loadConfig({ REDIS_URL: wrong })).toThrow(said)
      expect(() => loadConfig({ REDIS_URL: wrong })).not.toThrow(/hunter2/)
    }
  })

  test('TLS is certificate and key together; authorities of clients need both', () => {
    expect(loadConfig({}).tls).toBeUndefined()
    const files = { TLS_CERT_FILE: 'cert.pem', TLS_KEY_FILE: 'key.pem' }
    expect(loadConfig(files)).toMatchObject({
      tls: { certFile: 'cert.pem', keyFile: 'key.pem', clientCaFile: undefined },
      urls: { exec: 'https://127.0.0.1:4001', ingress: 'http://127.0.0.1:4003' },
    })
    expect(() => loadConfig({ TLS_CERT_FILE: 'cert.pem' })).toThrow(/belong together/)
    expect(() => loadConfig({ TLS_KEY_FILE: 'key.pem' })).toThrow(/belong together/)
    expect(() => loadConfig({ TLS_CLIENT_CA_FILE: 'ca.pem' })).toThrow(
      /TLS_CLIENT_CA_FILE needs TLS_CERT_FILE/,
    )
  })

  test('limits per node are a choice of their own: a Redis beside them would mislead', () => {
    expect(loadConfig({}).limits).toBe('shared')
    expect(loadConfig({ LIMITS: 'per-node' }).limits).toBe('per-node')
    expect(() => loadConfig({ LIMITS: 'per-node', REDIS_URL: 'redis://cache' })).toThrow(
      /take one of the two/,
    )
  })

  test.each([
    ['127.0.0.1', 'http://127.0.0.1:4000'],
    ['192.0.2.7', 'http://192.0.2.7:4000'],
    ['0.0.0.0', 'http://127.0.0.1:4000'],
    ['::', 'http://127.0.0.1:4000'],
    ['::1', 'http://[::1]:4000'],
  ])('listening on %s, the processes find each other', (HOST, control) => {
    expect(loadConfig({ HOST }).urls.control).toBe(control)
  })

  test('a key-encryption key is read as a secret, and prod takes none that a person typed', () => {
    const key = randomBytes(32).toString('base64')
    const old = randomBytes(32).toString('base64')
    const { kek } = loadConfig({ KEK_SOURCE: 'env', KEK: key, KEK_PREVIOUS: `${old}, ${key}` })
    expect([kek.current?.reveal(), kek.previous.map((previous) => previous.reveal())]).toEqual([
      key,
      [old, key],
    ])
    expect(JSON.stringify(kek)).not.toContain(key)
    const prod = { ORCHESTRATOR_ENV: 'prod', KEK_SOURCE: 'env' }
    for (const example of [Buffer.alloc(32), Buffer.from('example-key-do-not-use-in-prod!!')]) {
      const typed = example.toString('base64')
      expect(() => loadConfig({ ...prod, KEK: typed })).toThrow(/KEK is an example/)
      expect(() => loadConfig({ ...prod, KEK: key, KEK_PREVIOUS: typed })).toThrow(
        /KEK_PREVIOUS is an example/,
      )
      expect(loadConfig({ KEK_SOURCE: 'env', KEK: typed }).kek.source).toBe('env')
    }
    expect(() => loadConfig({ KEK_SOURCE: 'env', KEK: 'hunter2' })).toThrow(/KEK must match/)
    expect(() => loadConfig({ KEK_SOURCE: 'env', KEK: 'hunter2' })).not.toThrow(/hunter2/)
    expect(() => loadConfig({ KEK: key })).toThrow(/KEK is set but not used/)
    expect(loadConfig({ KEK_SOURCE: 'env' }).kek.current).toBeUndefined()
  })

  test('an empty variable is an unset one', () => {
    expect(loadConfig({ LOG_LEVEL: '', DATABASE_URL: '' }).logLevel).toBe('info')
  })

  test('private networks are closed in prod and demo workspaces are not made there', () => {
    const config = loadConfig({ ORCHESTRATOR_ENV: 'prod', DATABASE_URL: 'postgres://db/x' })
    expect(config.outboundAllowCidrs).toEqual([])
    expect(config.demoWorkspaces).toBe(false)
  })

  test('an emergency that no alert tells of is refused in prod', () => {
    const prod = { ORCHESTRATOR_ENV: 'prod', DATABASE_URL: 'postgres://db/x', BREAK_GLASS_PORT: '4009' }
    expect(() => loadConfig(prod)).toThrow(/BREAK_GLASS_PORT needs BREAK_GLASS_ALERT_URL in prod/)
    const alert = { BREAK_GLASS_ALERT_URL: 'https://alerts.example.com' }
    expect(loadConfig({ ...prod, ...alert }).breakGlass?.port).toBe(4009)
    expect(loadConfig({ BREAK_GLASS_PORT: '4009' }).breakGlass?.alertUrl).toBeUndefined()
  })

  test('places to die at are for tests and refused in prod', () => {
    expect(loadConfig({ FAIL_POINTS: 'a.b, c' }).failPoints).toEqual(['a.b', 'c'])
    const prod = { ORCHESTRATOR_ENV: 'prod', DATABASE_URL: 'postgres://db/x', FAIL_POINTS: 'a.b' }
    expect(() => loadConfig(prod)).toThrow(/FAIL_POINTS/)
  })

  test('only variables with the secret prefix become secrets', () => {
    const config = loadConfig({ ORCH_SECRET__BUILDOS_DEV__KEY: 'v', PATH: '/bin' })
    expect([...config.secretVariables]).toEqual([['ORCH_SECRET__BUILDOS_DEV__KEY', 'v']])
  })

  test('large bodies go to disk by default; S3 is named as a whole, and no value is repeated', () => {
    const { payloads, dataDir } = loadConfig({})
    expect(payloads).toMatchObject({ store: 'disk', folder: `${dataDir}/payloads`, folderIsChosen: false })
    const s3 = {
      ...{ S3_ENDPOINT: 'http://minio:9000', S3_BUCKET: 'payloads', S3_ACCESS_KEY_ID: 'key' },
      S3_SECRET_ACCESS_KEY: 'hunter2hunter2',
    }
    const chosen = loadConfig({ PAYLOAD_STORE: 's3', PAYLOAD_DIR: '/mnt/x', ...s3 }).payloads
    expect(chosen).toMatchObject({ store: 's3', folderIsChosen: true, s3: { region: 'us-east-1' } })
    expect(JSON.stringify(chosen)).not.toContain('hunter2')
    const { S3_BUCKET: _, ...half } = s3
    for (const [env, said] of [
      [{ PAYLOAD_STORE: 's3' }, /PAYLOAD_STORE=s3 needs S3_ENDPOINT, S3_BUCKET, S3_ACCESS_KEY_ID/],
      [{ PAYLOAD_STORE: 's3', ...half }, /PAYLOAD_STORE=s3 needs S3_BUCKET$/m],
      [half, /S3 settings belong together, without S3_BUCKET/],
      [{ ...s3, S3_SECRET_ACCESS_KEY_FILE: '/x' }, /exactly one of S3_SECRET_ACCESS_KEY/],
      [{ ...s3, S3_SECRET_ACCESS_KEY: '' }, /exactly one of S3_SECRET_ACCESS_KEY/],
      [{ ...s3, S3_ENDPOINT: 'http://minio:9000/path' }, /S3_ENDPOINT must match/],
      [{ PAYLOAD_INLINE_LIMIT_BYTES: '100' }, /PAYLOAD_INLINE_LIMIT_BYTES/],
    ] as const) {
      expect(() => loadConfig(env)).toThrow(said)
      expect(() => loadConfig(env)).not.toThrow(/hunter2/)
    }
  })
})
