// What a team would write by hand: fastify and undici, three calls at once, merged and sent. A process for each worker.
//
//   node server.js PORT USER ORDERS NOTIFICATIONS PATH ORDERS-PATH [WORKERS]
const cluster = require('node:cluster')
const [port, u0, u1, u2] = process.argv.slice(2, 6).map(Number)
const [path, ordersPath, workers = '1'] = process.argv.slice(6)

if (cluster.isPrimary && Number(workers) > 1) {
  for (let n = 0; n < Number(workers); n++) cluster.fork()
} else {
  const app = require('fastify')({ logger: false, keepAliveTimeout: 300000 })
  const { Pool } = require('undici')
  const opt = { connections: 128, pipelining: 1, keepAliveTimeout: 300000 }
  const [user, orders, notes] = [u0, u1, u2].map((p) => new Pool(`http://127.0.0.1:${p}`, opt))

  const get = async (pool, where) => {
    const { statusCode, body } = await pool.request({ path: where, method: 'GET' })
    if (statusCode !== 200) throw new Error('upstream ' + statusCode)
    return body.json()
  }

  app.get(path, async () => {
    const [u, o, n] = await Promise.all([get(user, '/user'), get(orders, ordersPath), get(notes, '/notifications')])
    return { user: u, orders: o, unread: n.unread }
  })
  app.listen({ port, host: '127.0.0.1', backlog: 16384 })
}
