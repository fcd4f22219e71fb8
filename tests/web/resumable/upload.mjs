// Uploads a pattern by tus-js-client, as the JSON in the last argument says, and prints
// what became of it.
import { createRequire } from 'node:module'
import { Readable } from 'node:stream'
const given = JSON.parse(process.argv[2])
const require = createRequire(given.folder + '/')
const tus = require('tus-js-client')

const data = Buffer.alloc(given.size)
for (let i = 0; i < data.length; i++) data[i] = (i * 31 + (i >> 8)) & 255
const source = given.stream ? Readable.from(data, { highWaterMark: 40000 }) : data

let errors = 0
const options = {
  retryDelays: Array(400).fill(20),
  onShouldRetry: (error) => {
    errors += 1
    const status = error.originalResponse ? error.originalResponse.getStatus() : 0
    return status < 400 || status >= 500 || status === 409 || status === 423
  },
  onError: (error) => {
    console.log(JSON.stringify({ ok: false, error: String(error), errors }))
    process.exit(0)
  },
  onSuccess: () => {
    console.log(JSON.stringify({ ok: true, url: upload.url, errors }))
    process.exit(0)
  },
  ...given.options,
}
const upload = new tus.Upload(source, options)
upload.start()
