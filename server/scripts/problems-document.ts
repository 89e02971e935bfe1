import { PROBLEMS } from '../src/problems.ts'

/** `docs/problems.md`: one section for each code, under its status. */
export function problemsDocument(): string {
  const codes = Object.entries(PROBLEMS)
  const statuses = [...new Set(codes.map(([, { status }]) => status))]
  return `# Problems

Generated from \`server/src/problems-catalogue.ts\` by \`npm run generate\`; a test holds the two equal.

Every failure is answered in one shape, \`application/problem+json\` (RFC 9457). Decide by \`code\`, never by
\`title\` or \`detail\`: those are for people. \`retryable\` says whether the very same request may succeed later;
\`details\` names each field at fault by a JSON pointer; \`request_id\` and \`trace_id\` find the request in the
logs and in the event log. \`type\` is the path of a description on the same server.

\`\`\`json
{
  "type": "/problems/validation_error",
  "title": "${PROBLEMS.validation_error.title}",
  "status": 400,
  "detail": "/body/input is missing.",
  "instance": "urn:request:019f0000-0000-7000-8000-000000000000",
  "code": "validation_error",
  "details": [{ "path": "/body/input", "message": "is missing" }],
  "next": "${PROBLEMS.validation_error.next}",
  "request_id": "019f0000-0000-7000-8000-000000000000",
  "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
  "retryable": false
}
\`\`\`

| Status | Codes |
| --- | --- |
${statuses
  .map((status) => {
    const links = codes
      .filter(([, kind]) => kind.status === status)
      .map(([code]) => `[\`${code}\`](#${code})`)
    return `| ${status} | ${links.join(', ')} |`
  })
  .join('\n')}

${codes
  .map(
    ([code, { status, title, retryable, next }]) => `## ${code}

**${status}** · ${title} · ${retryable ? 'retryable' : 'not retryable'}

${next}
`,
  )
  .join('\n')}`
}
