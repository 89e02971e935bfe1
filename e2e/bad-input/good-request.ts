import type { Schema } from './wire.ts'

/** A request that is taken: what the matrix spoils, a fault at a time. */
export interface GoodRequest {
  readonly params?: Readonly<Record<string, string>>
  readonly query?: Readonly<Record<string, string>>
  readonly headers?: Readonly<Record<string, string>>
  /** Instead of a token of the world: the session of a person. */
  readonly authorization?: string
  /** Shows all workspaces, to whoever has a role on the platform. */
  readonly ofTheHub?: boolean
  /** A GET that leaves something behind. */
  readonly changes?: boolean
  /** JSON. */
  readonly body?: unknown
  /** Instead of `body`: what is no JSON of ours, e.g. the signed bytes of a provider. */
  readonly bytes?: Buffer
  /** Another good body, for fields that exclude each other. */
  readonly otherBody?: unknown
  /**
   * By JSON pointer into the body: the schema of a part that the OpenAPI document leaves open, because it depends
   * on a connector kind or an operation.
   */
  readonly refine?: Readonly<Record<string, Schema>>
  /** Pointers into the body below which anything is good. */
  readonly open?: readonly string[]
}
