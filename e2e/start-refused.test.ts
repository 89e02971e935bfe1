import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { call } from './hub-client.ts'
import {
  type Ending,
  type HubHome,
  hubHome,
  type Role,
  type RunningCommand,
  runCli,
  startCommand,
  startHub,
  variableOf,
} from './hub-process.ts'
import { processesOf } from './process-scan.ts'

const STACK = /^\s+at .*:\d+:\d+/m
const STOP = { timeout: 20_000, interval: 100 }

/** One folder goes through it all: making a database and removing it again is what takes the time. */
let home: HubHome
beforeAll(async () => {
  home = await hubHome()
})
afterAll(() => home.remove())

/** Told in words, ended with 1, and nothing of it is left. */
async function expectRefusal(ending: Ending, ...texts: readonly (string | RegExp)[]): Promise<void> {
  const { code, stdout, stderr } = ending
  for (const text of texts) expect(stderr).toMatch(text)
  expect(`${stdout}${stderr}`).not.toMatch(STACK)
  expect(stdout).toBe('')
  expect(code).toBe(1)
  expect(await processesOf(home.dataDir)).toEqual([])
}

/** A program that has the port and is no hub. */
const strangerOn = (port: number): Promise<Server> =>
  new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy()).once('error', reject)
    server.listen(port, '127.0.0.1', () => resolve(server))
  })
const portOf = (role: Role) => Number(new URL(home.urls[role]).port)

describe('a first start that is cut short', () => {
  const exists = (folder: string, name: RegExp) => async () => {
    const entries = await readdir(join(home.dataDir, folder)).catch(() => [])
    if (!entries.some((entry) => name.test(entry))) throw new Error(`not there yet: ${name}`)
  }
  const isNew = exists('postgres', /^new-/)
  beforeEach(() => rm(join(home.dataDir, 'postgres'), { recursive: true, force: true }))

  /** Starts and waits for a file of that stage. */
  async function until(reached: () => Promise<void>): Promise<RunningCommand> {
    const command = startCommand(home, ['start'])
    await vi.waitFor(reached, { timeout: 20_000, interval: 2 })
    return command
  }

  test('by Ctrl-C: nothing is left running, and no stack is shown', async () => {
    const { stderr } = await (await until(isNew)).stop()
    expect(stderr).not.toMatch(STACK)
    expect(await processesOf(home.dataDir)).toEqual([])
  })

  test('by Ctrl-C again and again: it ends at once and leaves nothing either', async () => {
    const cut = await until(isNew)
    let ended = false
    cut.ended.finally(() => {
      ended = true
    })
    await vi.waitFor(() => {
      cut.signal('SIGINT')
      expect(ended).toBe(true)
    }, STOP)
    await vi.waitFor(async () => expect(await processesOf(home.dataDir)).toEqual([]), STOP)
  })

  test('by kill -9 at one stage after the other: the next one starts as if nothing had been', async () => {
    await (await until(isNew)).killHard()
    await (await until(exists('postgres', /^data$/))).killHard()
    await (await until(exists('keys', /^control\.json$/))).killHard()
    await (await until(exists('secrets', /^buildos-dev$/))).killHard()
    const hub = await startHub(home)
    const { execute } = hub.commands
    expect(await call(execute.url, { token: hub.tokens.exec, body: execute.body })).toMatchObject({
      status: 200,
      body: { status: 'ok' },
    })
    expect((await hub.stop()).code).toBe(0)
    expect(await processesOf(home.dataDir)).toEqual([])
  })
})

test('ports taken by strangers are all named, with their variables', async () => {
  const taken = ['worker', 'ingress'] as const
  const strangers = await Promise.all(taken.map((role) => strangerOn(portOf(role))))
  try {
    const ending = await runCli(home, 'start')
    const told = taken.flatMap((role) => [`Port ${portOf(role)} (${role})`, variableOf(role)])
    await expectRefusal(ending, 'another program', ...told)
  } finally {
    for (const stranger of strangers) await new Promise((closed) => stranger.close(closed))
  }
})

test('a second hub on the same folder is refused with the process of the first, which goes on', async () => {
  const first = await startHub(home)
  const elsewhere = await hubHome()
  await elsewhere.remove()
  const { DATA_DIR: _, ...ports } = elsewhere.env
  const { code, stderr } = await runCli(home.with(ports), 'start')
  expect(code).toBe(1)
  expect(stderr).toContain(`in use by another running Orchestrator (process ${first.pid})`)
  expect(stderr).not.toMatch(STACK)
  for (const url of Object.values(first.urls)) expect((await call(`${url}/ready`)).status).toBe(200)
  expect((await first.stop()).code).toBe(0)
})

describe('what a person must mend is told in one message, exit code 1', () => {
  test('every fault of the configuration at once, none of the values, and nothing is touched', async () => {
    const untouched = join(home.dataDir, 'untouched')
    await mkdir(untouched)
    const faulty = home.with({
      DATA_DIR: untouched,
      EXEC_PORT: 'many',
      LOG_LEVEL: 'loud',
      DATABASE_URL: 'mysql://user:hunter2@db/x',
      TOKEN_TTL_SECONDS: '9999999',
    })
    const ending = await runCli(faulty, 'start')
    await expectRefusal(ending, /EXEC_PORT/, /LOG_LEVEL .*debug, info/, /DATABASE_URL/, /TOKEN_TTL_SECONDS/)
    expect(ending.stderr).not.toContain('hunter2')
    expect(await readdir(untouched)).toEqual([])
  })

  test('a process of its own that would keep large bodies where perhaps no other looks', async () => {
    const alone = home.with({ DATABASE_URL: 'postgres://127.0.0.1:1/hub', PAYLOAD_DIR: '' })
    for (const role of ['exec', 'ingress'])
      await expectRefusal(await runCli(alone, 'start', role), 'PAYLOAD_DIR', 'PAYLOAD_STORE=s3')
  })

  test('commands that make no sense', async () => {
    const cases: [string[], string][] = [
      [[], 'Usage: npx orchestrator <command>'],
      [['strat'], 'There is no command "strat"'],
      [['start', 'exce'], '`start` takes one of: all, control, exec'],
      [['start', 'exec'], '`start exec` needs DATABASE_URL'],
      [['token', 'exec', '--workspcae', 'x'], "Unknown option '--workspcae'"],
      [['trigger', 'stripe'], 'No hub answers at'],
    ]
    const endings = await Promise.all(cases.map(([args]) => runCli(home, ...args)))
    for (const [at, { code, stdout, stderr }] of endings.entries()) {
      expect(`${stdout}${stderr}`).toContain(cases[at]?.[1])
      expect(stderr).not.toMatch(STACK)
      expect(code).toBe(1)
    }
  })

  test('help is not a fault', async () => {
    const { code, stdout, stderr } = await runCli(home, '--help')
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    for (const name of ['start', 'migrate', 'demo', 'trigger', 'token', 'keys', 'doctor'])
      expect(stdout).toMatch(new RegExp(`^ {2}${name}\\b`, 'm'))
  })

  test.each([
    ['a database that is not there', 'postgres://u:hunter2@127.0.0.1:1/db', '127.0.0.1:1/db cannot be used'],
    ['a password with a bare #', 'postgres://u:hun#ter2@127.0.0.1/db', 'DATABASE_URL must be a URL'],
  ])('%s, for the whole hub and for one process', async (_, url, text) => {
    const endings = ['all', 'worker'].map((role) => runCli(home.with({ DATABASE_URL: url }), 'start', role))
    for (const ending of await Promise.all(endings)) {
      await expectRefusal(ending, text)
      expect(ending.stderr).not.toMatch(/hunter2|ter2/)
    }
  })

  test('a file where a folder should be, and a key file that is none', async () => {
    const file = join(home.dataDir, 'file')
    await writeFile(file, '')
    for (const env of [{ DATA_DIR: file }, { LOG_FILE: `${file}/x` }])
      await expectRefusal(await runCli(home.with(env), 'start'), 'cannot be used', file)
    const keys = join(home.dataDir, 'broken-keys')
    await mkdir(keys)
    await writeFile(join(keys, 'exec.json'), '{"keys": [{"d": "hunter2"')
    const ending = await runCli(home.with({ KEYS_DIR: keys }), 'start')
    await expectRefusal(ending, join(keys, 'exec.json'), 'from a backup')
    expect(ending.stderr).not.toContain('hunter2')
  })

  test('an address that this machine does not have', async () => {
    // RFC 5737: an address for documentation.
    await expectRefusal(await runCli(home.with({ HOST: '203.0.113.1' }), 'start'), 'Set HOST')
  })
})
