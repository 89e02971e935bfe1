/** What a token may do (DESIGN D4), by the plane whose tokens carry it. A scope belongs to exactly one plane. */
export const PLANE_SCOPES = {
  exec: [
    'orchestrator.execute',
    'orchestrator.jobs.write',
    'orchestrator.jobs.read',
    'orchestrator.events.read',
  ],
  control: ['orchestrator.control.read', 'orchestrator.control.write'],
} as const

export type Plane = keyof typeof PLANE_SCOPES
export type Scope = (typeof PLANE_SCOPES)[Plane][number]

export const SCOPES: readonly Scope[] = [...PLANE_SCOPES.exec, ...PLANE_SCOPES.control]

/** The `aud` of the tokens of each plane: one string, never both. */
export const AUDIENCES = {
  exec: 'orchestrator-exec',
  control: 'orchestrator-control',
} as const satisfies Record<Plane, string>
