import { defineConfig } from 'vitest/config'

/** The real runs; the checker's own tests belong to `npm test`. */
export default defineConfig({
  test: {
    include: ['{short,planted,orphans}.test.ts'],
    testTimeout: 150_000,
    hookTimeout: 60_000,
    pool: 'forks',
    // Each of them is a whole hub, and they tell of times.
    fileParallelism: false,
  },
})
