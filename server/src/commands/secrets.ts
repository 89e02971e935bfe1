import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { loadConfig } from '../config.ts'
import { systemClock } from '../platform/clock.ts'
import { createDb } from '../platform/db/db.ts'
import { fileKeys } from '../platform/envelope/file-keys.ts'
import { createLog } from '../platform/log.ts'
import { createMetrics } from '../platform/metrics.ts'
import { StartRefused } from '../platform/start-refused.ts'
import { openProcessEnvelope } from '../processes/envelope.ts'
import { type RewrapResult, rewrapAll } from '../processes/rewrap.ts'
import { openProcessVault } from '../processes/vault.ts'
import { type Command, print } from './command.ts'

const USAGE = 'secrets rotate-key | rewrap | forget-old-keys'
const log = createLog('secrets', 'warn')

async function rewrap(): Promise<RewrapResult | undefined> {
  const config = loadConfig()
  if (config.databaseUrl === undefined) {
    print('The running hub wraps everything under the current key within a minute.')
    return undefined
  }
  const db = createDb({
    ...{ url: config.databaseUrl, applicationName: 'orchestrator secrets', poolSize: 2 },
    ...{ slowQueryMs: config.slowQueryMs, log, metrics: createMetrics('secrets', false) },
  })
  const vault = openProcessVault(config, { clock: systemClock, log })
  try {
    const envelope = openProcessEnvelope(config, { clock: systemClock, log }, vault?.client)
    const result = await rewrapAll(db, envelope)
    print(`${result.rewrapped} wrapped anew, ${result.left} still under another key.`)
    for (const line of result.broken) print(`FAIL  ${line}`)
    return result
  } finally {
    await vault?.close()
    await db.close()
  }
}

const ownKeys = () => {
  const config = loadConfig()
  if (config.kek.source !== 'file')
    throw new StartRefused(
      config.kek.source === 'env'
        ? 'KEK_SOURCE=env: put the new key into KEK and the old one into KEK_PREVIOUS, start the hub again, then run `orchestrator secrets rewrap`.'
        : 'KEK_SOURCE=vault-transit: rotate the key in Vault, then run `orchestrator secrets rewrap`.',
    )
  return fileKeys({ folder: config.keysDir, clock: systemClock, log })
}

/** A value that was sealed just before the rotation may still be on its way into the database. */
const YOUNG_MS = 60_000

async function forget(): Promise<number> {
  const keys = ownKeys()
  const { mtimeMs } = await stat(join(loadConfig().keysDir, 'secrets.json'))
  if (Date.now() - mtimeMs < YOUNG_MS)
    throw new StartRefused('The key is less than a minute old: wait for one.')
  const result = await rewrap()
  if (!result)
    throw new StartRefused(
      'DATABASE_URL is needed: without it nobody can tell whether an old key is still in use.',
    )
  if (result.left > 0) throw new StartRefused('Old keys are still in use: nothing was removed.')
  const gone = await keys.forgetOthers()
  print(
    `${gone.length} old keys removed. A backup of the database from before needs them: keep the file of that time with it.`,
  )
  return 0
}

/** The key-encryption key of what the hub keeps sealed: a new one rewraps data keys and touches no value. */
export const secrets: Command = {
  name: 'secrets',
  usage: USAGE,
  summary: 'Make a new key-encryption key, wrap all stored secrets under the current one, remove old ones',
  run: async (args) => {
    switch (args.join(' ')) {
      case 'rotate-key':
        print(`The key-encryption key is now ${await ownKeys().rotate()}.`)
        return ((await rewrap())?.left ?? 0) > 0 ? 1 : 0
      case 'rewrap':
        return ((await rewrap())?.left ?? 0) > 0 ? 1 : 0
      case 'forget-old-keys':
        return forget()
      default:
        throw new StartRefused(`Usage: orchestrator ${USAGE}`)
    }
  },
}
