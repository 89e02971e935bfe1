import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { call } from './hub-client.ts'
import { type HubHome, hubHome, type RunningHub, startCommand, startHub, tokenFor } from './hub-process.ts'
import { postmasterOf, processesOf } from './process-scan.ts'

const DEMO_SLUGS = ['beauty-dev', 'buildos-dev']
const WITHIN = { timeout: 20_000, interval: 50 }

let home: HubHome
let hub: RunningHub
/** A job of the first start; everything that comes after must still know it. */
let firstJob = ''

beforeAll(async () => {
  home = await hubHome()
  hub = await startHub(home)
})
afterAll(() => home.remove())

const lines = (text: string): string[] => text.split('\n')
const triggerCommand = (): string => lines(hub.stdout()).find((line) => line.startsWith('npx ')) ?? ''

/** Runs lines of the box in a shell, with its exports before them. */
async function inShell(script: string): Promise<string> {
  const exports = lines(hub.stdout()).filter((line) => line.startsWith('export '))
  const { code, stdout, stderr } = await startCommand(home, ['-c', [...exports, script].join('\n')], ['sh'])
    .ended
  if (code !== 0) throw new Error(`${script} ended with ${code}: ${stdout}${stderr}`)
  return stdout
}

/** A curl of the box as printed; on a machine without curl the same by fetch. */
async function runCurl(name: 'execute' | 'jobs'): Promise<Record<string, unknown>> {
  const line = lines(hub.stdout()).find((text) => text.startsWith('curl ') && text.includes(`/${name} `))
  const hasCurl = (await inShell('command -v curl || true')) !== ''
  if (line !== undefined && hasCurl) return JSON.parse(await inShell(line)) as Record<string, unknown>
  const { url, body } = hub.commands[name]
  return (await call(url, { token: hub.tokens.exec, body })).body
}

async function workspaces(): Promise<string[]> {
  const token = await tokenFor(home, 'control', '--platform-admin')
  const { body } = await call<{ data: { slug: string }[] }>(`${hub.urls.control}/workspaces`, { token })
  return body.data.map(({ slug }) => slug).sort()
}

const jobIsDone = (id: unknown): Promise<void> =>
  vi.waitFor(async () => {
    const { body } = await call<{ job: { state: string } }>(`${hub.urls.exec}/jobs/${id}`, {
      token: hub.tokens.exec,
    })
    expect(body).toMatchObject({ job: { state: 'done' } })
  }, WITHIN)

describe('the first start', () => {
  test('prints one box and nothing else', () => {
    expect(hub.stdout().match(/^── Orchestrator ─+$/gm)).toHaveLength(1)
    expect(hub.stdout().trim()).toMatch(/^── Orchestrator ─+\n[\s\S]*\n─{100}$/)
    expect(hub.stdout()).not.toContain('{"level"')
    expect(hub.stderr()).toBe('')
    expect(hub.stdout().match(/^export (EXEC|CONTROL)_TOKEN=/gm)).toHaveLength(2)
    expect(hub.stdout().match(/^(curl|npx) /gm)).toHaveLength(3)
  })

  test('every URL in it answers, readable API pages included', async () => {
    const urls = hub.stdout().match(/http:\/\/127\.0\.0\.1:\d+(\/docs|\/metrics)?(?=\s)/g) ?? []
    expect(new Set(urls)).toEqual(
      new Set([
        hub.urls.console,
        ...(['control', 'exec', 'ingress'] as const).flatMap((role) => [
          hub.urls[role],
          `${hub.urls[role]}/docs`,
        ]),
        `${hub.urls.worker}/metrics`,
      ]),
    )
    for (const [role, url] of Object.entries(hub.urls))
      expect(await call(`${url}/ready`), role).toMatchObject({ status: 200, body: { ready: true } })
    for (const url of urls.filter((url) => /docs|metrics/.test(url) || url === hub.urls.console))
      expect((await fetch(url)).status, url).toBe(200)
  })

  test('each token opens its own plane and not the other one', async () => {
    const status = async (url: string, token: string) => (await call(url, { token })).status
    const { control, exec } = hub.tokens
    expect(await status(`${hub.urls.exec}/jobs`, exec)).toBe(200)
    expect(await status(`${hub.urls.control}/configs`, control)).toBe(200)
    expect(await status(`${hub.urls.exec}/jobs`, control)).toBe(401)
    expect(await status(`${hub.urls.control}/configs`, exec)).toBe(401)
  })

  test('the three commands do what they say', async () => {
    expect(await runCurl('execute')).toMatchObject({ status: 'ok', output: { status: 'ok' }, attempts: 1 })
    const { job_id } = await runCurl('jobs')
    await jobIsDone(job_id)
    firstJob = String(job_id)
    const story = await inShell(triggerCommand())
    expect(story).toContain('billing_state_updated')
    expect(story).toMatch(/The product on port \d+ took .*; its signature is valid\./)
  })

  test('has made the two demo workspaces', async () => {
    expect(await workspaces()).toEqual(DEMO_SLUGS)
  })

  test('Ctrl-C stops everything: exit code 0, no process left, nothing on standard error', async () => {
    const ending = await hub.stop('SIGINT')
    expect(ending).toMatchObject({ code: 0, stderr: '' })
    expect(await processesOf(home.dataDir)).toEqual([])
  })
})

describe('the next start on the same folder', () => {
  test('keeps data, keys and workspaces', async () => {
    const tokenOfBefore = hub.tokens.exec
    hub = await startHub(home)
    const found = await call(`${hub.urls.exec}/jobs/${firstJob}`, { token: tokenOfBefore })
    expect(found).toMatchObject({ status: 200, body: { job: { id: firstJob, state: 'done' } } })
    expect(await workspaces()).toEqual(DEMO_SLUGS)
  })

  test('SIGTERM stops everything, too', async () => {
    expect(await hub.stop('SIGTERM')).toMatchObject({ code: 0, stderr: '' })
    expect(await processesOf(home.dataDir)).toEqual([])
  })

  test('on another address and other ports its processes find each other, and its commands work', async () => {
    const other = await hubHome()
    await other.remove()
    const { DATA_DIR: _, ...ports } = other.env
    home = home.with({ ...ports, HOST: '127.0.0.2' })
    hub = await startHub(home)
    const status = await call<{ processes: { ready: boolean }[] }>(`${hub.urls.console}/status`)
    expect(status.body.processes.map(({ ready }) => ready)).toEqual([true, true, true, true])
    expect(await runCurl('execute')).toMatchObject({ status: 'ok' })
    expect(await inShell(triggerCommand())).toContain('its signature is valid')
  })
})

describe('kill -9', () => {
  test('of the hub: the next start recovers by itself and stops as clean as ever', async () => {
    await hub.killHard()
    const left = await processesOf(home.dataDir)
    expect(left, 'its database is an orphan now').not.toEqual([])
    hub = await startHub(home)
    expect(await call(`${hub.urls.exec}/jobs/${firstJob}`, { token: hub.tokens.exec })).toMatchObject({
      body: { job: { state: 'done' } },
    })
    const living = (await processesOf(home.dataDir)).map(({ pid }) => pid)
    expect(left.filter(({ pid }) => living.includes(pid))).toEqual([])
  })

  test('of its database: the hub brings it back and works on', async () => {
    const killed = await postmasterOf(home.dataDir)
    process.kill(killed, 'SIGKILL')
    const jobId = await vi.waitFor(async () => {
      expect(await postmasterOf(home.dataDir)).not.toBe(killed)
      const { job_id } = await runCurl('jobs')
      expect(job_id).toBeTypeOf('string')
      return job_id
    }, WITHIN)
    await jobIsDone(jobId)
    await vi.waitFor(async () => {
      for (const url of Object.values(hub.urls)) expect((await call(`${url}/ready`)).status).toBe(200)
    }, WITHIN)
    expect(await hub.stop()).toMatchObject({ code: 0, stderr: '' })
    expect(await processesOf(home.dataDir)).toEqual([])
  })
})
