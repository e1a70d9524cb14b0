// A client that is not ours (the `onvif` package) at a camera: told what to do by lines of JSON on
// stdin, says what came of it by lines of JSON on stdout.
//
//   node onvif_client.mjs PORT USER PASSWORD token|digest     with the package beside or above it
//
//   in:  {"call": "continuousMove", "with": {…}}     any method of the package's `Cam`
//   out: {"connected": {…}}   {"done": "continuousMove", "result": …}   {"failed": …, "reason": …}
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

// The package lies where setup has installed it.
const require = createRequire(pathToFileURL(process.env.LSS_NODE_MODULES_FROM ?? process.argv[1]));
const { Cam } = require('onvif');

const [port, username, password, scheme] = process.argv.slice(2);
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const camera = new Cam({
  hostname: '127.0.0.1',
  port: Number(port),
  username,
  password,
  useWSSecurity: scheme === 'token',
  timeout: 20000,
  autoconnect: false,
});
// The package's own XML is left out: it holds the login.
const call = (name, options) =>
  new Promise((resolve) => {
    const done = (error, result) => {
      if (error) say({ failed: name, reason: String(error.message ?? error) });
      else say({ done: name, result: result ?? null });
      resolve(!error);
    };
    if (options === undefined) camera[name](done);
    else camera[name](options, done);
  });

camera.on('warning', (text) => say({ failed: 'warning', reason: text }));
await new Promise((resolve) => {
  camera.connect((error) => {
    if (error) say({ failed: 'connect', reason: String(error.message ?? error) });
    else {
      const profiles = camera.profiles.map((profile) => profile.$.token);
      say({ connected: { profiles, profile: camera.activeSource?.profileToken ?? null } });
    }
    resolve();
  });
});
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  await call(order.call, order.with);
}
