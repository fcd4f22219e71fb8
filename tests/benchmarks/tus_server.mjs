// @tus/server with its store on disk: node tus_server.mjs PACKAGES FOLDER [OPTIONS].
// It prints its port. OPTIONS are JSON for its Server; without any it is measured, and
// begins, as its peers do, by removing the last file.
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
const server = new Server({
  path: '/files',
  datastore: new FileStore({ directory }),
  ...(options ? JSON.parse(options) : { onUploadCreate: removeLast }),
})
const listening = server.listen({ host: '127.0.0.1', port: 0 }, () => {
  console.log(listening.address().port)
})
// A connection waits for its next turn, in milliseconds.
listening.keepAliveTimeout = 3600 * 1000
