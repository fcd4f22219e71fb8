// @tus/server with its store on disk: node tus_server.mjs PACKAGES FOLDER [OPTIONS].
// It prints its port. OPTIONS are JSON for its Server; without any it is measured, and
// begins, as its peers do, by removing the last file. The option `hooks` is a file for the
// ids of finished uploads; then one that is called "bad" is refused.
import { appendFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
const [packages, directory, options] = process.argv.slice(2)
const require = createRequire(packages + '/')
const { Server } = require('@tus/server')
const { FileStore } = require('@tus/file-store')

let last = null
async function removeLast(_request, upload) {
  if (last) await rm(`${directory}/${last}`, { force: true })
  last = upload.id
  return {}
}
const { hooks, ...others } = JSON.parse(options ?? '{}')
async function finish(_request, upload) {
  appendFileSync(hooks, `${upload.id}\n`)
  if (upload.metadata?.filename === 'bad') throw { status_code: 403, body: 'no' }
  return {}
}
const server = new Server({
  path: '/files',
  datastore: new FileStore({ directory }),
  ...(options ? others : { onUploadCreate: removeLast }),
  ...(hooks && { onUploadFinish: finish }),
})
const listening = server.listen({ host: '127.0.0.1', port: 0 }, () => {
  console.log(listening.address().port)
})
// A connection waits for its next turn, in milliseconds.
listening.keepAliveTimeout = 3600 * 1000
