// Serves uploads by @tus/server, as the JSON in the last argument says; prints its port.
import { appendFileSync } from 'node:fs'
import { createRequire } from 'node:module'
const given = JSON.parse(process.argv[2])
const require = createRequire(given.folder + '/')
const { pathToFileURL } = await import('node:url')
const { Server } = await import(pathToFileURL(require.resolve('@tus/server')))
const { FileStore } = await import(pathToFileURL(require.resolve('@tus/file-store')))

const server = new Server({
  path: '/files',
  datastore: new FileStore({ directory: given.files }),
  maxSize: 1000,
  async onUploadFinish(_request, upload) {
    appendFileSync(given.hooks, `${upload.id}\n`)
    if (upload.metadata?.filename === 'bad') throw { status_code: 403, body: 'no' }
    return {}
  },
})
const http = server.listen({ host: '127.0.0.1', port: 0 }, () =>
  console.log(http.address().port),
)
