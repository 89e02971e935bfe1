/** What the pages for newcomers say can be done, and leads somewhere. */
import { existsSync, globSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { call } from './hub-client.ts'
import { type HubHome, hubHome, REPOSITORY, type RunningHub, startCommand, startHub } from './hub-process.ts'

const PAGES = [
  'README.md',
  'sdk/README.md',
  ...globSync('docs/**/*.md', { cwd: REPOSITORY }).filter((page) => page !== 'docs/problems.md'),
]
const textOf = (page: string): Promise<string> => readFile(join(REPOSITORY, page), 'utf8')

describe.each(PAGES)('%s', (page) => {
  test('links only to files that are there', async () => {
    const targets = [...(await textOf(page)).matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map(
      ([, path = '']) => path,
    )
    expect(targets.filter((path) => !existsSync(join(REPOSITORY, dirname(page), path)))).toEqual([])
  })

  test('names only tests and scripts that are there', async () => {
    const text = await textOf(page)
    const files = [...text.matchAll(/`((?:server|e2e|torture|bench|sdk)\/[^` ]+)`/g)].map(
      ([, path = '']) => path,
    )
    expect(files.filter((path) => globSync(path, { cwd: REPOSITORY }).length === 0)).toEqual([])
    const { scripts } = JSON.parse(await textOf('package.json')) as { scripts: Record<string, string> }
    const named = [...text.matchAll(/npm run ([a-z:]+)/g)].map(([, name = '']) => name)
    expect(named.filter((name) => !Object.hasOwn(scripts, name))).toEqual([])
  })
})

describe('the commands', () => {
  let home: HubHome
  let hub: RunningHub
  /** An upstream that takes an order and never answers. */
  let shop: Server

  beforeAll(async () => {
    home = await hubHome()
    hub = await startHub(home)
    shop = createServer((request) => request.socket.destroy())
    await new Promise<void>((resolve) => shop.listen(0, '127.0.0.1', resolve))
  })
  afterAll(async () => {
    shop?.close()
    await hub?.stop()
    await home?.remove()
  })

  /** As it stands on the page, but for the ports and the folder of this hub. */
  const onThisHub = (script: string): string =>
    script
      .replaceAll('http://127.0.0.1:4000', home.urls.control)
      .replaceAll('http://127.0.0.1:4001', home.urls.exec)
      .replaceAll('.orchestrator/', `${home.dataDir}/`)

  async function inShell(script: string): Promise<string> {
    const tokens = [`EXEC_TOKEN='${hub.tokens.exec}'`, `CONTROL_TOKEN='${hub.tokens.control}'`]
    const lines = ['set -e', ...tokens, onThisHub(script)].join('\n')
    const { code, stdout, stderr } = await startCommand(home, ['-c', lines], ['sh']).ended
    if (code !== 0) throw new Error(`${script} ended with ${code}: ${stdout}${stderr}`)
    return stdout
  }

  /** The blocks of shell in a section of a page, or in all of it. */
  async function commandsOf(page: string, section?: string): Promise<string[]> {
    const text = await textOf(page)
    const part = section === undefined ? text : text.split(`\n## ${section}\n`)[1]?.split('\n## ')[0]
    return [...(part ?? '').matchAll(/```sh\n([\s\S]*?)```/g)].map(([, script = '']) => script)
  }

  /** Runs the curl commands of a block one by one: every answer is JSON and none is a problem. */
  async function answersOf(script: string): Promise<Record<string, unknown>[]> {
    const answers: Record<string, unknown>[] = []
    for (const command of script.split(/\n(?=curl )/).filter((each) => each.startsWith('curl '))) {
      const answer = JSON.parse(await inShell(command)) as Record<string, unknown>
      expect(answer, command).not.toHaveProperty('code')
      answers.push(answer)
    }
    return answers
  }

  test('of the README do what they show', async () => {
    const blocks = await commandsOf('README.md', 'What it does today')
    let traceId = ''
    let answered = 0
    // The stream never ends.
    for (const block of blocks.filter((each) => !each.startsWith('npx ')))
      for (const answer of await answersOf(
        block.replaceAll(/^curl -sN .*\n/gm, '').replace('<trace id>', traceId),
      )) {
        answered += 1
        traceId = typeof answer.trace_id === 'string' ? answer.trace_id : traceId
      }
    expect(answered).toBe(9)
    expect(traceId).toMatch(/^[0-9a-f]{32}$/)
  })

  test('of the README bring a product in, to the last line of the checklist', async () => {
    const [block = '', ...more] = (await commandsOf('README.md', 'What it does today')).filter((each) =>
      each.includes('onboard verify'),
    )
    expect(more).toEqual([])
    const said = await inShell(block.replaceAll('shop.json', join(home.dataDir, 'shop.json')))
    expect(said).toMatch(/^shop-dev +active +Shop$/m)
    expect(said).toContain('2 to create, 0 to change, 0 to remove')
    expect(said).toMatch(/^shop-dev: \d+ passed, 0 failed,/m)
  }, 60_000)

  test('that save a connector lead to a call, and the same call again to the same job', async () => {
    const [secret = '', ...rest] = await commandsOf('docs/connectors.md', 'From nothing to the first call')
    expect(await inShell(secret)).toBe('')
    const [ref, policy, connector, tested, dryRun, first] = await answersOf(rest.join(''))
    expect([ref?.name, policy?.name, connector?.name]).toEqual(['example-token', 'example', 'example'])
    expect(tested).toMatchObject({ healthy: true })
    expect(dryRun).toMatchObject({ attempts: 0, output: { method: 'POST' } })
    expect(first).toMatchObject({ output: { job_id: expect.any(String) }, idempotency: { replayed: false } })
    const [again] = await answersOf(rest.at(-1) ?? '')
    expect(again).toMatchObject({ output: first?.output, idempotency: { replayed: true } })
  })

  test('that settle an unknown outcome give it to whoever asks again', async () => {
    const { port } = shop.address() as AddressInfo
    const connector = {
      kind: 'http',
      settings: {
        base_url: `http://127.0.0.1:${port}`,
        auth: { type: 'none' },
        operations: { order: { method: 'POST', path: '/orders', body: '{{input}}' } },
      },
    }
    const { control, exec } = home.urls
    const saved = await call(`${control}/connectors/shop`, {
      token: hub.tokens.control,
      method: 'PUT',
      body: { connector, reason: 'for the test' },
    })
    expect(saved.status).toBe(200)
    const order = () =>
      call(`${exec}/execute`, {
        token: hub.tokens.exec,
        headers: { 'idempotency-key': 'order-18/place' },
        body: { connector: 'shop', operation: 'order', input: {} },
      })
    const { body: unknown } = await order()
    expect(unknown).toMatchObject({ outcome: 'unknown', retryable: false, settle: expect.any(String) })

    const blocks = await commandsOf('docs/idempotency.md')
    const script = blocks.join('').replaceAll('<execution id>', String(unknown.execution_id))
    expect(await answersOf(script)).toMatchObject([
      { data: [{ execution_id: unknown.execution_id, next_try_at: null }] },
      { state: 'unknown', key: 'order-18/place' },
      { outcome: 'done' },
    ])
    expect(await order()).toMatchObject({ status: 200, body: { output: { order: 4711 } } })
  })
})
