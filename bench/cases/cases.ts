import type { Case } from './case.ts'
import { drainHttp } from './drain-http.ts'
import { drainNoOp } from './drain-no-op.ts'
import { enqueueBatch } from './enqueue-batch.ts'
import { enqueueOne } from './enqueue-one.ts'

/** In the order of the report. */
export const CASES: readonly Case[] = [enqueueOne, enqueueBatch, drainNoOp, drainHttp]
