import { availableParallelism } from 'node:os'
import { configDefaults, defineConfig } from 'vitest/config'

/** Real runs of a whole hub that is hurt on purpose. */
const REAL_RUNS = 'torture/{short,planted,orphans}.test.ts'
/** Millions of rows in one transaction: beside others they would hold back the event streams of all. */
const AT_SIZE = 'server/**/at-size.sql.test.ts'
const ONE_POSTGRES = ['server/testing/global-setup.ts']

export default defineConfig({
  test: {
    // Real servers and real Postgres: a cold machine needs more than the 5 s default, a hang still ends.
    testTimeout: 30_000,
    hookTimeout: 60_000,
    pool: 'forks',
    projects: [
      {
        extends: true,
        test: {
          name: 'hub',
          include: ['{server,sdk,e2e,torture}/**/*.test.ts', 'bench/*.test.ts'],
          exclude: [...configDefaults.exclude, REAL_RUNS, AT_SIZE],
          globalSetup: ONE_POSTGRES,
          // Vitest's default is one core less than there are: on two cores one file after the other. A third of the
          // time goes by in waiting for processes that start, stop and are found dead.
          maxWorkers: Math.max(3, availableParallelism() - 1),
        },
      },
      // After the others, which they would slow down.
      {
        extends: true,
        test: {
          name: 'torture',
          include: [REAL_RUNS],
          sequence: { groupOrder: 1 },
          // They mostly wait.
          maxWorkers: 2,
        },
      },
      {
        extends: true,
        test: {
          name: 'size',
          include: [AT_SIZE],
          globalSetup: ONE_POSTGRES,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
})
