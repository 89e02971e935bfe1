import { expect, test } from 'vitest'
import { capturedLog } from '../../../testing/captured-log.ts'
import { manualClock } from '../../../testing/manual-clock.ts'
import type { Check } from './check.ts'
import { runChecklist } from './run-checklist.ts'
import type { Stage } from './stage.ts'
import { mustBe, notApplicable, passed } from './verdict.ts'

const check = (name: string, more: Partial<Check>): Check => ({
  name,
  proves: `${name} works.`,
  mend: `Mend ${name}.`,
  run: async () => passed(`${name} was seen`),
  ...more,
})

const stage = { signal: new AbortController().signal } as Stage
const { log } = capturedLog()

const lines = async (checks: readonly Check[], on: Stage = stage) =>
  (await runChecklist(checks, on, { clock: manualClock(), log, onLine: async () => undefined })).map(
    ({ name, status, detail, mend }) => [name, status, detail, mend],
  )

test('one cause fails one line: what needs it is not tried, over several steps', async () => {
  const checks = [
    check('worker', { gives: 'worker', run: async () => mustBe(false, 'It is away.') as never }),
    check('webhook', { needs: ['worker'], gives: 'webhook' }),
    check('duplicate', { needs: ['webhook'] }),
    check('tokens', { needs: ['exec'] }),
  ]
  expect(await lines(checks)).toEqual([
    ['worker', 'failed', 'It is away.', 'Mend worker.'],
    ['webhook', 'not_applicable', 'Not tried, because worker failed.', null],
    ['duplicate', 'not_applicable', 'Not tried, because worker failed.', null],
    ['tokens', 'passed', 'tokens was seen', null],
  ])
})

test('what does not apply keeps others from being tried with its own reason, and fails nothing', async () => {
  const checks = [
    check('target', { gives: 'target', run: async () => notApplicable('loopback is closed.') }),
    check('execute', { needs: ['target'] }),
  ]
  expect(await lines(checks)).toEqual([
    ['target', 'not_applicable', 'loopback is closed.', null],
    ['execute', 'not_applicable', 'Not tried: loopback is closed.', null],
  ])
})

test('a check that breaks is a failed line that tells nothing of the inside', async () => {
  const run = async (): Promise<never> => {
    throw new Error('password=hunter2')
  }
  const [line] = await lines([check('odd', { run })])
  expect(line?.slice(0, 2)).toEqual(['odd', 'failed'])
  expect(JSON.stringify(line)).not.toContain('hunter2')
})

test('after the end of the time every line says that the run was broken off', async () => {
  const over = { signal: AbortSignal.abort(new Error('stop')) } as Stage
  const run = async (): Promise<never> => {
    throw new Error('aborted')
  }
  expect((await lines([check('slow', { run })], over))[0]?.[2]).toBe('The verification was broken off.')
})
