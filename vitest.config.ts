import { configDefaults, defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['server/**/*.test.ts', 'sdk/**/*.test.ts', 'e2e/**/*.test.ts', 'torture/**/*.test.ts'],
    // More real runs, a minute together: `npm run test:torture`. `npm test` stays below five minutes on two cores.
    exclude: [...configDefaults.exclude, 'torture/{planted,orphans}.test.ts'],
    globalSetup: ['server/testing/global-setup.ts'],
    // Real servers and real Postgres: a cold machine needs more than the 5 s default, a hang still ends.
    testTimeout: 30_000,
    hookTimeout: 60_000,
    pool: 'forks',
  },
})
