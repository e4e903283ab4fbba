// A foreign client for ci/apache.sh: Node's node-zookeeper-client, through the proxy.
//
// node load.js HOSTS SECONDS SEED: counters by compare-and-set, nodes of every kind, transactions,
// watches, an ACL. Some sessions are closed, others left behind. Errors are what it is for.

const zookeeper = require('node-zookeeper-client');
const [hosts, seconds, seed] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const end = Date.now() + seconds * 1000;
const counts = new Map();

let state = seed >>> 0;
function draw(below) { // xorshift, so that a seed says what is asked
  state = state || 1;
  state ^= state << 13; state >>>= 0;
  state ^= state >>> 17;
  state ^= state << 5; state >>>= 0;
  return state % below;
}

const count = (name, error) => {
  const key = `${name} ${error ? error.getName ? error.getName() : error.message : 'ok'}`;
  counts.set(key, (counts.get(key) || 0) + 1);
};
const nap = (time) => new Promise((resolve) => setTimeout(resolve, time));
// A request that is never answered (its session is gone) ends after a while.
const ask = (name, call) => new Promise((resolve) => {
  const timer = setTimeout(() => { count(name, new Error('no answer')); resolve([]); }, 15000);
  const done = (error, ...answer) => { clearTimeout(timer); count(name, error); resolve(error ? [] : answer); };
  try { call(done); } catch (error) { done(error); }
});
const told = (event) => count(`told ${event.getName()}`);
const value = () => Buffer.from(String(draw(1 << 30)));
const { PERSISTENT, EPHEMERAL, PERSISTENT_SEQUENTIAL, EPHEMERAL_SEQUENTIAL } = zookeeper.CreateMode;
const mine = [new zookeeper.ACL(zookeeper.Permission.ALL, zookeeper.Id.AUTH_IDS)];

const steps = [
  async (zk) => {
    const [data, stat] = await ask('get', (done) => zk.getData('/node/counter', null, done));
    if (stat) {
      const next = Buffer.from(String(Number(data) + 1));
      await ask('set', (done) => zk.setData('/node/counter', next, stat.version, done));
    }
  },
  (zk) => {
    const same = value();
    return ask('pair', (done) => zk.transaction().check('/node', -1)
      .setData('/node/left', same, -1).setData('/node/right', same, -1).commit(done));
  },
  (zk) => ask('create', (done) => zk.create(`/node/n${draw(6)}`, value(), [PERSISTENT, EPHEMERAL][draw(2)], done)),
  (zk) => ask('create', (done) => zk.create('/node/n-', value(), [PERSISTENT_SEQUENTIAL, EPHEMERAL_SEQUENTIAL][draw(2)], done)),
  async (zk) => {
    const [names] = await ask('children', (done) => zk.getChildren('/node', told, done));
    for (const name of (names || []).filter((name) => name.startsWith('n')).slice(0, 2)) {
      await ask('remove', (done) => zk.remove(`/node/${name}`, -1, done));
    }
  },
  (zk) => ask('exists', (done) => zk.exists(`/node/n${draw(6)}`, told, done)),
  (zk) => ask('watch', (done) => zk.getData(['/node/left', '/node/counter'][draw(2)], told, done)),
  async (zk) => {
    const path = `/node/own-${seed}`;
    await ask('own', (done) => zk.create(path, value(), mine, PERSISTENT, done));
    await ask('acl', (done) => zk.getACL(path, done));
    await ask('own', (done) => zk.remove(path, 0, done));
  },
  (zk) => Promise.all([...Array(10).keys()].map((i) => ask('many', (done) => (i % 2
    ? zk.getData('/node/left', null, done)
    : zk.setData('/node/left', value(), -1, done))))),
];

async function live() {
  const zk = zookeeper.createClient(hosts, { sessionTimeout: 4000, spinDelay: 200, retries: 0 });
  zk.on('state', (now) => count(`state ${now.getName()}`));
  const connected = new Promise((resolve) => zk.once('connected', resolve));
  zk.addAuthInfo('digest', Buffer.from('node:secret'));
  zk.connect();
  await Promise.race([connected, nap(20000)]);
  for (const node of ['/node', '/node/counter', '/node/left', '/node/right']) {
    await ask('ensure', (done) => zk.create(node, Buffer.from('0'), done));
  }
  const until = Math.min(end, Date.now() + 3000 + draw(12000));
  while (Date.now() < until && zk.getState() !== zookeeper.State.EXPIRED) {
    await steps[draw(steps.length)](zk);
    await nap(draw(60));
  }
  zk.close();
}

async function lives() { while (Date.now() < end) await live(); }

Promise.all([lives(), lives()]).then(() => {
  for (const [key, times] of [...counts].sort()) console.log(key, times);
  process.exit(0);
});
