/** Planted bug: the exec process answers 202 before the job is committed. Preloaded into it. */
import { replaceModule } from './replace-module.ts'

replaceModule('/server/src/queue/enqueuer.ts', new URL('./early-enqueuer.ts', import.meta.url).href)
