import { configDefaults, defineConfig } from 'vitest/config'

/** Real runs of a whole hub that is hurt on purpose. */
const REAL_RUNS = 'torture/{short,planted,orphans}.test.ts'

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
          include: ['server/**/*.test.ts', 'sdk/**/*.test.ts', 'e2e/**/*.test.ts', 'torture/**/*.test.ts'],
          exclude: [...configDefaults.exclude, REAL_RUNS],
          globalSetup: ['server/testing/global-setup.ts'],
        },
      },
      {
        extends: true,
        test: {
          name: 'torture',
          include: [REAL_RUNS],
          // After the others, which they would slow down; beside each other, because they mostly wait.
          sequence: { groupOrder: 1 },
          maxWorkers: 2,
        },
      },
    ],
  },
})
