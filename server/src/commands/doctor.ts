import { type Config, ConfigError, loadConfig } from '../config.ts'
import { type Command, print } from './command.ts'
import { checkClockAndDatabase } from './doctor/database.ts'
import type { Finding } from './doctor/finding.ts'
import { checkDisk, checkEmbeddedBinaries, checkKeys, checkRuntime } from './doctor/machine.ts'
import { checkPorts } from './doctor/ports.ts'
import { checkRedis } from './doctor/redis.ts'

const CHECKS: readonly ((config: Config) => Promise<readonly Finding[]>)[] = [
  checkRuntime,
  checkPorts,
  checkDisk,
  checkKeys,
  checkEmbeddedBinaries,
  checkClockAndDatabase,
  checkRedis,
]

function show({ name, ok, detail, mend }: Finding): void {
  print(`${ok ? 'ok  ' : 'FAIL'}  ${name.padEnd(20)} ${detail}`)
  if (!ok && mend) print(`      ${''.padEnd(20)} → ${mend}`)
}

/** Looks at everything a start needs; changes nothing. Exit code 1 when something is not well. */
export const doctor: Command = {
  name: 'doctor',
  usage: 'doctor',
  summary: 'Check ports, disk, clock, database, Redis and keys, and say how to mend what is wrong',
  run: async () => {
    let config: Config
    try {
      config = loadConfig()
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      for (const fault of error.faults)
        show({
          name: 'configuration',
          ok: false,
          detail: fault,
          mend: 'Set it as docs/configuration.md says.',
        })
      return 1
    }
    const findings: Finding[] = [
      { name: 'configuration', ok: true, detail: `environment ${config.environment}` },
    ]
    for (const check of CHECKS) findings.push(...(await check(config)))
    for (const finding of findings) show(finding)
    const failed = findings.filter((finding) => !finding.ok).length
    print(
      failed === 0
        ? '\nEverything a start needs is there.'
        : `\n${failed} of ${findings.length} checks failed.`,
    )
    return failed === 0 ? 0 : 1
  },
}
