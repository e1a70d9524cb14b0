// The official Ably client, playing RCS: told what to do by lines of JSON on stdin, says what it
// sees by lines of JSON on stdout.
//
//   node ably_rcs.mjs PORT NODE_ID     with the `ably` package installed beside or above it
//
//   in:  {"publish": {"channel", "name", "data", "base64"?}}   {"members": true}   {"ping": true}
//        {"task": "task:…:events"}   {"close": true}
//   out: {"ready": true}   {"message": {…}}   {"own": {…}}   {"presence": {…}}   {"members": […]}
//        {"published": n}   {"pinged": true}   {"subscribed": …}   {"state": …}   {"failed": …}
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

// The package lies where the test has installed it.
const require = createRequire(pathToFileURL(process.env.LSS_NODE_MODULES_FROM ?? process.argv[1]));
const Ably = require('ably');

const [port, nodeId] = process.argv.slice(2);
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const fail = (what) => (error) => say({ failed: what, reason: String(error) });

const client = new Ably.Realtime({
  authUrl: `http://127.0.0.1:${port}/auth`,
  clientId: 'rcs',
  endpoint: '127.0.0.1',
  port: Number(port),
  tls: false,
  useBinaryProtocol: false,
  fallbackHosts: [],
  disableConnectivityCheck: true,
  logLevel: 0,
});

client.connection.on((change) => say({ state: change.current }));

const shown = (message) => ({
  id: message.id,
  name: message.name,
  clientId: message.clientId,
  data: Buffer.isBuffer(message.data) ? { base64: message.data.toString('base64') } : message.data,
});

const commands = client.channels.get(`lss:${nodeId}:commands`);
const status = client.channels.get(`lss:${nodeId}:status`);
const registry = client.channels.get('lss:registry');
const member = (entry) => ({
  action: entry.action,
  clientId: entry.clientId,
  connectionId: entry.connectionId,
  data: entry.data,
});

await registry.presence.subscribe((entry) => say({ presence: member(entry) }));
await status.subscribe((message) => say({ message: shown(message) }));
// Its own commands, echoed: proof that they are on the channel.
await commands.subscribe((message) => say({ own: shown(message) }));
say({ ready: true });

let published = 0;
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  if (order.publish) {
    const { channel, name, data, base64 } = order.publish;
    const payload = base64 === undefined ? data : Buffer.from(base64, 'base64');
    client.channels
      .get(channel)
      .publish(name, payload)
      .then(() => say({ published: (published += 1) }), fail('publish'));
  } else if (order.members) {
    registry.presence
      .get()
      .then((members) => say({ members: members.map(member) }), fail('members'));
  } else if (order.ping) {
    client.connection.ping().then(() => say({ pinged: true }), fail('ping'));
  } else if (order.task) {
    client.channels
      .get(order.task)
      .subscribe((message) => say({ message: shown(message) }))
      .then(() => say({ subscribed: order.task }), fail('subscribe'));
  } else if (order.close) {
    break;
  }
}
client.close();
