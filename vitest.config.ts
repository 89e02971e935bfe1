import { configDefaults, defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['server/**/*.test.ts', 'sdk/**/*.test.ts', 'e2e/**/*.test.ts', 'torture/**/*.test.ts'],
    // Real runs of real torture tell of times and belong to a quiet machine: `npm run test:torture`. They join
    // `npm test` with the issue that completes the queue, when they have been seen to be steady.
    exclude: [...configDefaults.exclude, 'torture/{short,planted,orphans}.test.ts'],
    globalSetup: ['server/testing/global-setup.ts'],
    // Real servers and real Postgres: a cold machine needs more than the 5 s default, a hang still ends.
    testTimeout: 30_000,
    hookTimeout: 60_000,
    pool: 'forks',
  },
})
