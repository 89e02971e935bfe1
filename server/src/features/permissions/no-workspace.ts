/** The tenant id of what belongs to no workspace, e.g. the platform's audit log; no workspace has it. */
export const NO_WORKSPACE = '00000000-0000-0000-0000-000000000000'
