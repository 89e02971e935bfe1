import { defineConfig } from 'vitest/config'

// Reads files only: no database, so that the check takes a second on any machine.
export default defineConfig({ test: { include: ['architecture.test.ts'], root: import.meta.dirname } })
