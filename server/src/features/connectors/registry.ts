import type { ConnectorKind } from './define-connector.ts'
import { callback } from './kinds/callback.ts'
import { http } from './kinds/http.ts'
import { s3 } from './kinds/s3.ts'
import { smtp } from './kinds/smtp.ts'
import { stripe } from './kinds/stripe.ts'

/** Every connector kind: a new one is a file in `kinds/` and a line here. */
export const KINDS: readonly ConnectorKind[] = [callback, http, s3, smtp, stripe]

export const findKind = (name: string): ConnectorKind | undefined => KINDS.find(({ kind }) => kind === name)
