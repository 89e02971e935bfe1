import { Type } from 'typebox'

export const PayloadParams = Type.Object({
  id: Type.String({
    format: 'uuid',
    description: 'Id of the payload: of an `input_ref`, a `result_ref` or a `payload_ref`.',
  }),
})

export const PayloadView = Type.Object({
  id: Type.String({ format: 'uuid', description: 'Id of the payload.' }),
  size: Type.Integer({ description: 'Bytes.' }),
  sha256: Type.String({ description: 'Of the bytes, hex.' }),
  content_type: Type.String({ description: 'What the sender called them.' }),
  owner: Type.Object(
    {
      kind: Type.Enum(['webhook', 'job_input', 'job_result', 'execution'], { description: 'What it is of.' }),
      id: Type.String({ format: 'uuid', description: 'Of the inbox row, the job or the execution.' }),
    },
    { description: 'What it belongs to, and goes with.' },
  ),
  encrypted: Type.Boolean({ description: 'Whether the payload store has it encrypted.' }),
  store: Type.Enum(['disk', 's3'], { description: 'Where it is kept.' }),
  spooled: Type.Boolean({ description: 'It still waits in the database for its store to come back.' }),
  created_at: Type.String({ format: 'date-time', description: 'When it was kept.' }),
})

export const DownloadLink = Type.Object({
  url: Type.String({
    description:
      'Of the payload store itself, or a path of this control plane. Whoever has it reads the bytes, without a token.',
  }),
  expires_at: Type.String({ format: 'date-time', description: 'When it ends: after five minutes.' }),
})

export const LinkQuery = Type.Object(
  {
    key: Type.String({ minLength: 1, maxLength: 2_000, description: 'As the link has it.' }),
  },
  { additionalProperties: false },
)

/** The answer with the bytes. */
export const PayloadBytes = {
  description: 'The bytes as they came, checked against their hash',
  content: { 'application/octet-stream': { schema: Type.String({ format: 'binary' }) } },
}
