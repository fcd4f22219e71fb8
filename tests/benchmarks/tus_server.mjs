// @tus/server with its store on disk, for the benchmarks: node tus_server.mjs PACKAGES
// FOLDER. It prints its port. As its peers do, it begins by removing the last file.
import { rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
const [packages, directory] = process.argv.slice(2)
const require = createRequire(packages + '/')
const { Server } = require('@tus/server')
const { FileStore } = require('@tus/file-store')

let last = null
const server = new Server({
  path: '/files',
  datastore: new FileStore({ directory }),
  async onUploadCreate(_request, upload) {
    if (last) await rm(`${directory}/${last}`, { force: true })
    last = upload.id
    return {}
  },
})
const listening = server.listen({ host: '127.0.0.1', port: 0 }, () => {
  console.log(listening.address().port)
})
// A connection waits for its next turn, in milliseconds.
listening.keepAliveTimeout = 3600 * 1000
