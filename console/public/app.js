/**
 * The state of the hub, asked from the console process again and again. When it cannot be asked, the last
 * answer stays on the screen, marked with its time: an operator must never take an old picture for the present.
 *
 * @typedef {{ name: string, ok: boolean, detail?: string }} Check
 * @typedef {{ name: string, url: string, ready: boolean, checks: Check[] }} Process
 * @typedef {{ processes: Process[], version: string, environment: string }} Status
 */

const ASK_EVERY_MS = 3_000
const ANSWER_WITHIN_MS = 5_000

/** What each process is for, in the words of the documentation. */
const PURPOSE = new Map([
  ['control', 'Operators and automation: configs, policies, audit'],
  ['exec', 'Products: execute, jobs, events, tokens'],
  ['ingress', 'Webhooks of providers'],
  ['worker', 'Runs jobs and delivers webhooks'],
  ['console', 'This page'],
])

const DOCS = [
  { process: 'exec', title: 'Execution plane', text: 'For products: /execute, /jobs, /events' },
  { process: 'control', title: 'Control plane', text: 'For operators: /connectors, /policies, /configs' },
]

/** Where a hub on its default ports listens: shown until the hub says otherwise. */
const DEFAULT_URLS = new Map([
  ['control', 'http://127.0.0.1:4000'],
  ['exec', 'http://127.0.0.1:4001'],
  ['ingress', 'http://127.0.0.1:4003'],
])

/** @param {string} id */
function byId(id) {
  const found = document.getElementById(id)
  if (!found) throw new Error(`the page has no #${id}`)
  return found
}

/**
 * @param {string} tag
 * @param {Record<string, string>} [attributes]
 * @param {...(Node | string)} children
 */
function element(tag, attributes = {}, ...children) {
  const created = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) created.setAttribute(name, value)
  created.append(...children)
  return created
}

/** @param {boolean} ok */
const stateOf = (ok) => (ok ? 'up' : 'down')

/**
 * @param {Process} process
 * @param {boolean} current
 */
function processCard({ name, url, ready, checks }, current) {
  const state = stateOf(ready)
  const label = `${ready ? '✓' : '✕'} ${current ? '' : 'was '}${ready ? 'ready' : 'not ready'}`
  return element(
    'li',
    { class: current ? 'process' : 'process stale' },
    element('h3', {}, name, element('span', { class: 'state', 'data-state': state }, label)),
    element('p', { class: 'muted' }, PURPOSE.get(name) ?? ''),
    element('p', { class: 'muted address' }, url),
    element(
      'ul',
      {
        class: 'checks',
        'aria-label': `Dependencies of ${name}`,
        ...(checks.length === 0 && { hidden: '' }),
      },
      ...checks.map(checkLine),
    ),
  )
}

/** @param {Check} check */
function checkLine({ name, ok, detail }) {
  const text = `${name}: ${detail ?? (ok ? 'ok' : 'not usable')}`
  return element(
    'li',
    { 'data-state': stateOf(ok) },
    element('span', { class: 'mark', 'aria-hidden': 'true' }, ok ? '✓' : '✕'),
    element('span', {}, text),
  )
}

/** @param {ReadonlyMap<string, string>} urls */
function showLinksAndCommands(urls) {
  byId('docs').replaceChildren(
    ...DOCS.map(({ process, title, text }) => {
      const href = `${urls.get(process)}/docs`
      return element(
        'li',
        {},
        element(
          'a',
          { href },
          element('strong', {}, title),
          element('span', { class: 'muted' }, text),
          element('span', { class: 'muted' }, href),
        ),
      )
    }),
  )
  byId('commands').replaceChildren(...commandsFor(urls).map(commandBlock))
}

/**
 * @param {ReadonlyMap<string, string>} urls
 * @returns {{ title: string, text: string }[]}
 */
function commandsFor(urls) {
  const exec = urls.get('exec')
  /** @type {(path: string) => string} */
  const post = (path) =>
    `curl -s ${exec}${path} -H "authorization: Bearer $EXEC_TOKEN" -H 'content-type: application/json' \\\n  -d '{"connector":"hub","operation":"health","input":{}}'`
  return [
    {
      title: 'Call an upstream through the hub, now',
      text: `export EXEC_TOKEN=$(npx orchestrator token exec --workspace buildos-dev)\n${post('/execute')}`,
    },
    { title: 'The same as a job', text: post('/jobs') },
    {
      title: 'Send a signed Stripe event and see it arrive at a product',
      text: 'npx orchestrator trigger stripe invoice.paid',
    },
  ]
}

/** @param {{ title: string, text: string }} command */
function commandBlock({ title, text }) {
  const button = element('button', { type: 'button', 'aria-label': `Copy: ${title}` }, 'Copy')
  button.addEventListener('click', async () => {
    // Browsers give the clipboard to https and localhost only: elsewhere the text is selected instead.
    const copied = await navigator.clipboard?.writeText(text).then(
      () => true,
      () => false,
    )
    if (!copied) getSelection()?.selectAllChildren(code)
    button.textContent = copied ? 'Copied' : 'Selected'
    setTimeout(() => {
      button.textContent = 'Copy'
    }, 2_000)
  })
  const code = element('code', {}, text)
  return element(
    'li',
    {},
    element('p', { class: 'title' }, title, button),
    element('pre', { tabindex: '0', 'aria-label': title }, code),
  )
}

/**
 * @param {string} state
 * @param {string} text
 */
function showSummary(state, text) {
  const summary = byId('summary')
  summary.dataset.state = state
  // Screen readers announce every change of this line: an unchanged text is not set again.
  if (summary.textContent !== text) summary.textContent = text
}

/**
 * @param {Status} status
 * @param {Process[]} unknown
 */
function summaryOf({ processes }, unknown) {
  const waiting = processes.filter(({ ready }) => !ready)
  if (waiting.length + unknown.length === 0) return `All ${processes.length} processes are ready`
  /** @type {(list: Process[]) => string} */
  const names = (list) => list.map(({ name }) => name).join(', ')
  return [
    `${processes.length - waiting.length} of ${processes.length + unknown.length} processes are ready`,
    ...(waiting.length > 0 ? [`not ready: ${names(waiting)}`] : []),
    ...(unknown.length > 0 ? [`not known: ${names(unknown)}`] : []),
  ].join('; ')
}

/** @param {Date} moment */
const clockTime = (moment) => moment.toLocaleTimeString('en-GB')

/**
 * @param {unknown} body
 * @returns {body is Status}
 */
function isStatus(body) {
  const { processes } = /** @type {Partial<Status>} */ (body ?? {})
  return Array.isArray(processes) && processes.every(({ name, checks }) => name && Array.isArray(checks))
}

/** @returns {Promise<Status>} */
async function ask() {
  const answer = await fetch('/status', { cache: 'no-store', signal: AbortSignal.timeout(ANSWER_WITHIN_MS) })
  /** @type {unknown} */
  const body = await answer.json()
  if (!isStatus(body)) throw new Error(`the console process answered ${answer.status}`)
  return body
}

/** @type {{ status: Status, at: Date } | undefined} */
let last
let drawn = ''

/**
 * What was seen of each process. When control is down, the console can say nothing of the others: they stay on
 * the screen as they were.
 *
 * @type {Map<string, Process>}
 */
const seen = new Map()

/**
 * @param {Status} status
 * @param {boolean} current
 */
function draw(status, current) {
  for (const process of status.processes) seen.set(process.name, process)
  const answered = new Set(status.processes.map(({ name }) => name))
  const picture = JSON.stringify({ status, current, known: [...seen.keys()] })
  // An unchanged picture is not drawn again: focus and selection stay where they are.
  if (picture === drawn) return
  drawn = picture
  byId('processes').replaceChildren(
    ...[...seen.values()].map((process) => processCard(process, current && answered.has(process.name))),
  )
  byId('version').textContent = `version ${status.version}`
  byId('environment').textContent = status.environment
  byId('environment').hidden = false
  const urls = [...seen.values()].map(({ name, url }) => /** @type {const} */ ([name, url]))
  showLinksAndCommands(new Map([...DEFAULT_URLS, ...urls]))
}

/** @param {Status} status */
function show(status) {
  last = { status, at: new Date() }
  draw(status, true)
  const unknown = [...seen.values()].filter(
    ({ name }) => !status.processes.some((other) => other.name === name),
  )
  const ready = unknown.length === 0 && status.processes.every((process) => process.ready)
  showSummary(stateOf(ready), summaryOf(status, unknown))
  byId('as-of').textContent = `as of ${clockTime(last.at)}`
}

function showThatNobodyAnswers() {
  if (last) draw(last.status, false)
  showSummary('stale', 'The console process does not answer')
  byId('as-of').textContent = last
    ? `Below is its last answer, as of ${clockTime(last.at)}. Trying again every few seconds.`
    : 'Nothing is known yet. Is the hub running? `npm start` starts it. Trying again every few seconds.'
}

let asking = false

async function refresh() {
  // One question at a time: a late answer must not overwrite a newer one.
  if (asking) return
  asking = true
  try {
    show(await ask())
  } catch {
    showThatNobodyAnswers()
  } finally {
    asking = false
  }
}

async function keepAsking() {
  for (;;) {
    if (!document.hidden) await refresh()
    await new Promise((resolve) => setTimeout(resolve, ASK_EVERY_MS))
  }
}

showLinksAndCommands(DEFAULT_URLS)
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) void refresh()
})
void keepAsking()
