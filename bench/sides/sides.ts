import type { Side } from './side.ts'

/** Loaded by name, so that a measurement has only its own side in memory. */
const LOADERS: Readonly<Record<string, () => Promise<Side>>> = {
  ours: async () => (await import('./ours.ts')).ours,
  'graphile-worker': async () => (await import('./graphile-worker.ts')).graphileWorker,
  'graphile-batched': async () => (await import('./graphile-batched.ts')).graphileBatched,
  'pg-boss': async () => (await import('./pg-boss.ts')).pgBoss,
  'bullmq-always': async () => (await import('./bullmq.ts')).bullmqAlways,
  'bullmq-everysec': async () => (await import('./bullmq.ts')).bullmqEverysec,
}

export const POSTGRES_SIDES = ['ours', 'graphile-worker', 'graphile-batched', 'pg-boss'] as const
export const REDIS_SIDES = ['bullmq-always', 'bullmq-everysec'] as const
export const ALL_SIDES = [...POSTGRES_SIDES, ...REDIS_SIDES]
export const RIVALS = ALL_SIDES.filter((name) => name !== 'ours')

export function loadSide(name: string): Promise<Side> {
  const load = LOADERS[name]
  if (!load) throw new Error(`there is no side ${name}`)
  return load()
}
