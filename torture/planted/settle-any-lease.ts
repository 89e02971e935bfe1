/** Planted bug: a worker ends the lease that a job has now, whoever holds it. Preloaded into workers. */
import { replaceModule } from './replace-module.ts'

replaceModule('/server/src/queue/settle.ts', new URL('./leaseless-settle.ts', import.meta.url).href)
