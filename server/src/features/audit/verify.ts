/**
 * Verification: every hash of a chain is made again, and what the head and the signed checkpoints say must be what
 * comes out.
 */
import type { Queryable } from '../../platform/db/statement.ts'
import { findHead, findStart, type HeadRow, listChain, listChains, listCheckpoints } from './audit.sql.ts'
import { entryHash, GENESIS_HASH } from './chain.ts'
import { type Checkpoint, type CheckpointKeys, signatureFault } from './checkpoint.ts'
import { type KeptCheckpoints, readCheckpoints } from './checkpoint-file.ts'

const CHAIN_PAGE = 1_000

export type ChainState =
  | {
      readonly intact: true
      readonly entries: number
      /** Hash of the last entry, lower-case hex. */
      readonly head: string
      /** How many signed checkpoints agree. */
      readonly checkpoints: number
      /** So many entries were removed from the front when their time was over. */
      readonly removed: number
    }
  | {
      readonly intact: false
      /** Number of the first entry that is missing or not what was written. */
      readonly seq: number
      readonly why: string
    }

/** What a chain is held against besides its own head. */
export interface Evidence {
  readonly keys: Pick<CheckpointKeys, 'publicKey'>
  /** File of checkpoints outside of the database. */
  readonly file: string
  /** The file was named by somebody, so that its absence is an error. */
  readonly fileMustExist?: boolean
}

const broken = (seq: number, why: string): ChainState => ({ intact: false, seq, why })

/** Where in a chain a walk is: the last entry that was right. */
interface Place {
  readonly seq: number
  readonly hash: Buffer
}
const START: Place = { seq: 0, hash: GENESIS_HASH }

/**
 * Walks from one place to an entry, making every hash again. Gives what is wrong with the first bad entry, or the hash of
 * the last. `onEntry` may object to an entry that is right in itself.
 */
export async function walkChain(
  on: Queryable,
  tenantId: string,
  from: Place,
  toSeq: number,
  onEntry: (place: Place) => Promise<ChainState | undefined> = async () => undefined,
): Promise<ChainState | Buffer> {
  let { seq, hash } = from
  while (seq < toSeq) {
    const limit = Math.min(CHAIN_PAGE, toSeq - seq)
    const rows = await listChain(on, { tenantId, afterSeq: seq, limit })
    if (rows.length === 0) return broken(seq + 1, 'the entry is missing')
    for (const row of rows) {
      seq += 1
      if (row.seq !== seq) return broken(seq, 'the entry is missing')
      if (!row.previous_hash.equals(hash)) return broken(seq, 'it does not follow the entry before it')
      if (entryHash(hash, row)?.equals(row.hash) !== true)
        return broken(seq, 'its content is not what was written')
      hash = row.hash
      const objection = await onEntry({ seq, hash })
      if (objection) return objection
    }
  }
  return hash
}

/**
 * Verifies the chain of a workspace. Finds edited, deleted, reordered and cut entries by the chain and its head; with
 * evidence also a chain that was rewritten or cut together with its head. Entries that are written meanwhile are left out.
 */
export async function verifyChain(on: Queryable, tenantId: string, evidence?: Evidence): Promise<ChainState> {
  const kept =
    evidence &&
    (await readCheckpoints(evidence.file, { tenantId, mustExist: evidence.fileMustExist ?? false }))
  return verifyAgainst(on, tenantId, evidence?.keys, kept?.byTenant.get(tenantId) ?? [])
}

/** Once more when the beginning has moved: what was missed went because its time was over. */
async function verifyAgainst(
  on: Queryable,
  tenantId: string,
  keys: Evidence['keys'] | undefined,
  kept: readonly Checkpoint[],
): Promise<ChainState> {
  const before = await findStart(on, { tenantId })
  const state = await verifyOnce(on, tenantId, keys, kept)
  if (state.intact) return state
  const after = await findStart(on, { tenantId })
  return before?.seq === after?.seq ? state : verifyOnce(on, tenantId, keys, kept)
}

async function verifyOnce(
  on: Queryable,
  tenantId: string,
  keys: Evidence['keys'] | undefined,
  kept: readonly Checkpoint[],
): Promise<ChainState> {
  // Checkpoints before the head, so that each is of a head that is reached.
  const checkpoints = keys ? await gatherCheckpoints(on, tenantId, kept) : new Map<number, Said[]>()
  const head = (await findHead(on, { tenantId })) ?? START
  const [first] = await listChain(on, { tenantId, afterSeq: Number.MIN_SAFE_INTEGER, limit: 1 })
  if (first && first.seq < 1) return broken(first.seq, 'no entry has this number')
  const start = await findStart(on, { tenantId })

  let agreeing = 0
  let lastAgreed = 0
  const check = async ({ seq, hash }: Place): Promise<ChainState | undefined> => {
    for (const { checkpoint, where } of checkpoints.get(seq) ?? []) {
      const fault = keys && (await signatureFault(keys, checkpoint))
      if (fault) return broken(seq, `${fault} (checkpoint of this entry in ${where})`)
      if (!hash.equals(checkpoint.hash)) return broken(seq, rewritten(checkpoint, where, lastAgreed))
      agreeing += 1
    }
    if (checkpoints.has(seq)) lastAgreed = seq
    return undefined
  }
  const objection = start && ((keys && beginFault(start, checkpoints)) ?? (await check(start)))
  if (objection) return objection
  const walked = await walkChain(on, tenantId, start ?? START, head.seq, check)
  if (!Buffer.isBuffer(walked)) return walked
  if (!walked.equals(head.hash))
    return broken(head.seq, 'it is not the entry that the head of the chain names')
  const beyond = (await entryBeyond(on, tenantId, head)) ?? (await checkpointBeyond(keys, checkpoints, head))
  if (beyond) return beyond
  const removed = start?.seq ?? 0
  return {
    intact: true,
    entries: head.seq - removed,
    head: walked.toString('hex'),
    checkpoints: agreeing,
    removed,
  }
}

/** No entry is removed before this time, whatever a workspace says. */
const SHORTEST_MS = 30 * 86_400_000

/** Nothing but an old signature says that what was removed from the front had been there, and that its time was over. */
function beginFault(
  { seq, now }: Place & { readonly now: Date },
  checkpoints: ReadonlyMap<number, readonly Said[]>,
): ChainState | undefined {
  const vouching = checkpoints.get(seq)
  if (!vouching) return broken(seq, 'the chain begins behind it, and no signed checkpoint vouches for that')
  const early = vouching.some(({ checkpoint }) => now.getTime() - checkpoint.at.getTime() < SHORTEST_MS)
  return early ? broken(seq, 'it and those before it were removed before their time') : undefined
}

interface Said {
  readonly checkpoint: Checkpoint
  readonly where: string
}

const rewritten = ({ at }: Checkpoint, where: string, since: number): string =>
  `the checkpoint in ${where} signed another hash for it at ${at.toISOString()}: entries from ${since + 1} to here were rewritten`

async function gatherCheckpoints(
  on: Queryable,
  tenantId: string,
  kept: readonly Checkpoint[],
): Promise<Map<number, Said[]>> {
  const stored = await listCheckpoints(on, { tenantId })
  const said: Said[] = [
    ...stored.map(({ tenant_id, ...row }) => ({
      checkpoint: { tenantId: tenant_id, ...row },
      where: 'the database',
    })),
    ...kept.map((checkpoint) => ({ checkpoint, where: 'the file' })),
  ]
  return Map.groupBy(said, ({ checkpoint }) => checkpoint.seq)
}

/** A row past the head was committed meanwhile, unless the head still does not know it. */
async function entryBeyond(on: Queryable, tenantId: string, head: HeadRow): Promise<ChainState | undefined> {
  const [beyond] = await listChain(on, { tenantId, afterSeq: head.seq, limit: 1 })
  if (beyond && ((await findHead(on, { tenantId }))?.seq ?? 0) < beyond.seq)
    return broken(beyond.seq, 'the head of the chain does not know the entry')
  return undefined
}

/** A checkpoint past the head: of entries that are gone, if it is the hub's. */
async function checkpointBeyond(
  keys: Evidence['keys'] | undefined,
  checkpoints: ReadonlyMap<number, readonly Said[]>,
  head: HeadRow,
): Promise<ChainState | undefined> {
  const beyond = [...checkpoints.values()].flat().filter(({ checkpoint }) => checkpoint.seq > head.seq)
  for (const { checkpoint, where } of beyond.toSorted((a, b) => a.checkpoint.seq - b.checkpoint.seq)) {
    const { seq, at } = checkpoint
    const fault = keys && (await signatureFault(keys, checkpoint))
    if (fault) return broken(seq, `${fault} (checkpoint of this entry in ${where})`)
    return broken(
      head.seq + 1,
      `the entry is missing: the checkpoint in ${where} signed ${seq} entries at ${at.toISOString()}`,
    )
  }
  return undefined
}

export interface VerifiedChain {
  readonly tenantId: string
  readonly state: ChainState
}

/** Verifies every chain that the database or the file knows, one after the other. */
export async function* verifyAllChains(on: Queryable, evidence: Evidence): AsyncGenerator<VerifiedChain> {
  const { byTenant }: KeptCheckpoints = await readCheckpoints(evidence.file, {
    mustExist: evidence.fileMustExist ?? false,
  })
  const stored = (await listChains(on, {})).map(({ tenant_id }) => tenant_id)
  for (const tenantId of [...new Set([...stored, ...byTenant.keys()])].sort())
    yield { tenantId, state: await verifyAgainst(on, tenantId, evidence.keys, byTenant.get(tenantId) ?? []) }
}
