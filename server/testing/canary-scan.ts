/** Looks for secrets that were planted on purpose, in every form in which a program writes them by accident. */

export interface Hit {
  readonly canary: string
  readonly form: string
  /** What was looked at. */
  readonly place: string
}

type Forms = readonly (readonly [form: string, text: string])[]

/** Base64 of a longer text that holds the value at any of the three alignments: the part that is always the same. */
function base64Cores(value: string): Forms {
  return [0, 1, 2].flatMap((before) => {
    const bytes = Buffer.concat([Buffer.alloc(before), Buffer.from(value)])
    // The first and the last group of four characters depend on what stands around the value.
    const core = bytes
      .subarray(0, bytes.length - (bytes.length % 3))
      .toString('base64')
      .slice(before === 0 ? 0 : 4)
    const url = core.replaceAll('+', '-').replaceAll('/', '_')
    return [
      [`base64 (${before})`, core] as const,
      ...(url === core ? [] : [[`base64url (${before})`, url] as const]),
    ]
  })
}

function formsOf(value: string): Forms {
  const hex = Buffer.from(value).toString('hex')
  const json = JSON.stringify(value).slice(1, -1)
  const other: Forms = [
    ['hex', hex],
    ['hex', hex.toUpperCase()],
    ['URL-encoded', encodeURIComponent(value)],
    ['JSON', json],
    ['JSON in JSON', JSON.stringify(json).slice(1, -1)],
    ['reversed', [...value].reverse().join('')],
    ...base64Cores(value),
  ]
  return [['as it is', value], ...other.filter(([, text]) => text !== value)]
}

/** `find` tells where which canary stands. The name of a canary is for people; its value needs 16 characters. */
export function canaryScan(canaries: Readonly<Record<string, string>>) {
  const wanted = Object.entries(canaries).map(([canary, value]) => {
    if (value.length < 16) throw new RangeError(`the canary ${canary} is too short to be told from chance`)
    return { canary, forms: formsOf(value) }
  })
  return (place: string, content: string | Buffer): Hit[] => {
    // What is no text must not hide a value that is.
    const texts =
      typeof content === 'string' ? [content] : [content.toString('utf8'), content.toString('latin1')]
    return wanted.flatMap(({ canary, forms }) =>
      forms
        .filter(([, value]) => texts.some((text) => text.includes(value)))
        .map(([form]) => ({ canary, form, place })),
    )
  }
}
