// Apache's own Java client for ci/apache.sh, through the proxy.
//
// java -cp ZOOKEEPER_JAR ci/apache/Load.java HOSTS SECONDS SEED [also]
//
// Three clients at a time, each alive for some seconds: counters by compare-and-set, nodes of every
// kind, transactions, watches (persistent ones too) and their removal, ACLs, requests by the dozen
// without waiting, containers and nodes with a time to live, sessions closed and sessions left
// behind. With "also", what a closed history cannot hold: reconfigurations. Errors are what it is for.

import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.zookeeper.*;
import org.apache.zookeeper.admin.ZooKeeperAdmin;
import org.apache.zookeeper.data.*;

public class Load {
    static final Map<String, AtomicLong> counts = new ConcurrentSkipListMap<>();

    interface Step {
        void run() throws KeeperException, InterruptedException;
    }

    static void count(String name, String outcome) {
        counts.computeIfAbsent(name + " " + outcome, key -> new AtomicLong()).incrementAndGet();
    }

    static void counted(String name, Step step) throws InterruptedException {
        try {
            step.run();
            count(name, "ok");
        } catch (KeeperException error) {
            count(name, error.code().toString());
        }
    }

    /** A client that can be left without closing its session, as a crash would. */
    static class Leavable extends ZooKeeperAdmin {
        Leavable(String hosts, int timeout, Watcher watcher) throws java.io.IOException {
            super(hosts, timeout, watcher);
        }

        void leave() {
            cnxn.disconnect();
        }
    }

    final String hosts;
    final Random draw;
    final boolean also;
    final String me;
    Leavable zk;

    Load(String hosts, long seed, boolean also) {
        this.hosts = hosts;
        this.also = also;
        draw = new Random(seed);
        me = "/java/own-" + seed;
    }

    static final List<ACL> OPEN = ZooDefs.Ids.OPEN_ACL_UNSAFE;

    byte[] value() {
        return Integer.toString(draw.nextInt(1 << 30)).getBytes();
    }

    void increment() throws KeeperException, InterruptedException {
        Stat stat = new Stat();
        long value = Long.parseLong(new String(zk.getData("/java/counter", false, stat)));
        zk.setData("/java/counter", Long.toString(value + 1).getBytes(), stat.getVersion());
    }

    void pair() throws KeeperException, InterruptedException {
        byte[] value = value();
        zk.multi(List.of(Op.check("/java", -1), Op.setData("/java/left", value, -1), Op.setData("/java/right", value, -1)));
    }

    void movings() throws KeeperException, InterruptedException {
        String from = "/java/m" + draw.nextInt(4), to = "/java/m" + draw.nextInt(4);
        zk.multi(List.of(Op.delete(from, -1), Op.create(to, value(), OPEN, CreateMode.PERSISTENT)));
    }

    void several() throws KeeperException, InterruptedException {
        zk.multi(List.of(Op.getData("/java/left"), Op.getData("/java/right"), Op.getChildren("/java")));
    }

    void pipeline() throws InterruptedException {
        CountDownLatch left = new CountDownLatch(20);
        AsyncCallback.StatCallback set = (rc, path, ctx, stat) -> {
            count("pipelined set", KeeperException.Code.get(rc).toString());
            left.countDown();
        };
        AsyncCallback.DataCallback get = (rc, path, ctx, data, stat) -> {
            count("pipelined get", KeeperException.Code.get(rc).toString());
            left.countDown();
        };
        for (int i = 0; i < 10; i++) {
            zk.setData("/java/p" + draw.nextInt(3), value(), -1, set, null);
            zk.getData("/java/p" + draw.nextInt(3), draw.nextBoolean(), get, null);
        }
        left.await(30, TimeUnit.SECONDS);
    }

    void mine() throws KeeperException, InterruptedException {
        zk.create(me, value(), ZooDefs.Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
        zk.getData(me, event -> count("told", event.getType().toString()), null);
        zk.getACL(me, null);
        zk.setData(me, value(), 0);
        zk.delete(me, 1);
    }

    void born() throws KeeperException, InterruptedException {
        CreateMode[] modes = {
            CreateMode.PERSISTENT, CreateMode.EPHEMERAL,
            CreateMode.PERSISTENT_SEQUENTIAL, CreateMode.EPHEMERAL_SEQUENTIAL
        };
        CreateMode mode = modes[draw.nextInt(4)];
        String path = "/java/n" + draw.nextInt(6) + (mode.isSequential() ? "-" : "");
        switch (draw.nextInt(2)) {
            case 0 -> zk.create(path, value(), OPEN, mode);
            default -> zk.create(path, draw.nextInt(9) == 0 ? null : value(), OPEN, mode, new Stat());
        }
    }

    /** Takes a few of the older children away, so that the tree stays small. */
    void sweep() throws KeeperException, InterruptedException {
        List<String> names = zk.getChildren("/java", false);
        Collections.shuffle(names, draw);
        for (String name : names.subList(0, Math.min(3, names.size()))) {
            if (name.startsWith("n") || name.startsWith("c") || name.startsWith("t")) {
                zk.delete("/java/" + name, -1);
            }
        }
    }

    void watched() throws KeeperException, InterruptedException {
        Watcher watcher = event -> count("told", event.getType().toString());
        String path = "/java/" + List.of("counter", "left", "p0", "p1", "m0", "n1", "none").get(draw.nextInt(7));
        switch (draw.nextInt(4)) {
            case 0 -> zk.exists(path, watcher);
            case 1 -> zk.getData(path, watcher, null);
            case 2 -> zk.getChildren(path, watcher, new Stat());
            default -> zk.getChildren("/java", watcher);
        }
    }

    void persistent() throws KeeperException, InterruptedException {
        Watcher watcher = event -> count("told persistently", event.getType().toString());
        zk.addWatch("/java", watcher, draw.nextBoolean() ? AddWatchMode.PERSISTENT : AddWatchMode.PERSISTENT_RECURSIVE);
    }

    void unwatched() throws KeeperException, InterruptedException {
        Watcher one = event -> count("told", event.getType().toString());
        Watcher two = event -> count("told twice", event.getType().toString());
        zk.getData("/java/left", one, null);
        zk.getData("/java/left", two, null);
        // Of two watchers the first goes with checkWatches, the last with removeWatches.
        zk.removeWatches("/java/left", one, Watcher.WatcherType.Data, false);
        zk.removeAllWatches("/java/left", Watcher.WatcherType.Any, false);
    }

    /** Nodes that the servers remove by themselves. */
    void passing() throws KeeperException, InterruptedException {
        String container = "/java/c" + draw.nextInt(3), shortly = "/java/t" + draw.nextInt(3);
        long ttl = 300 + draw.nextInt(1200);
        switch (draw.nextInt(9)) {
            case 0 -> zk.create(container, value(), OPEN, CreateMode.CONTAINER);
            case 1 -> zk.create(container + "/n-", value(), OPEN, CreateMode.PERSISTENT_SEQUENTIAL);
            case 2, 3 -> {
                for (String child : zk.getChildren(container, draw.nextBoolean())) {
                    zk.delete(container + "/" + child, -1);
                }
            }
            case 4 -> zk.create(shortly, value(), OPEN, CreateMode.PERSISTENT_WITH_TTL, new Stat(), ttl);
            case 5 -> zk.setData(shortly, value(), -1);
            case 6 -> zk.create("/java/s-", value(), OPEN, CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL, new Stat(), ttl);
            case 7 -> zk.multi(List.of(
                Op.create(container, value(), OPEN, CreateMode.CONTAINER),
                Op.create(container + "/t", value(), OPEN, CreateMode.PERSISTENT_WITH_TTL, ttl)));
            default -> {
                zk.exists(container, draw.nextBoolean());
                zk.getData(shortly, draw.nextBoolean(), new Stat());
            }
        }
    }

    void strange() throws KeeperException, InterruptedException {
        zk.reconfigure((String) null, "9", null, -1, new Stat());
    }

    void looks() throws KeeperException, InterruptedException {
        switch (draw.nextInt(6)) {
            case 0 -> zk.getEphemerals();
            case 1 -> zk.getEphemerals("/java/n");
            case 2 -> zk.getAllChildrenNumber("/java");
            case 3 -> zk.whoAmI();
            case 4 -> zk.getConfig(draw.nextBoolean(), null);
            default -> several();
        }
    }

    void synced() throws KeeperException, InterruptedException {
        CountDownLatch done = new CountDownLatch(1);
        zk.sync("/java", (rc, path, ctx) -> done.countDown(), null);
        zk.getData("/java/left", false, null);
        zk.getData("/java/right", false, null);
        done.await(30, TimeUnit.SECONDS);
    }

    void step() throws InterruptedException {
        switch (draw.nextInt(also ? 17 : 16)) {
            case 0 -> counted("increment", this::increment);
            case 1 -> counted("pair", this::pair);
            case 2 -> counted("move", this::movings);
            case 3 -> counted("pipeline", this::pipeline);
            case 4 -> counted("own", this::mine);
            case 5, 6 -> counted("create", this::born);
            case 7 -> counted("sweep", this::sweep);
            case 8, 9 -> counted("watch", this::watched);
            case 10 -> counted("sync", this::synced);
            case 11 -> counted("look", this::looks);
            case 12, 13 -> counted("passing", this::passing);
            case 14 -> counted("persistent", this::persistent);
            case 15 -> counted("unwatch", this::unwatched);
            default -> counted("strange", this::strange);
        }
    }

    /** One client's life. */
    void live(long end) throws Exception {
        CountDownLatch connected = new CountDownLatch(1);
        zk = new Leavable(hosts, 4000, event -> {
            count("state", event.getState().toString());
            if (event.getState() == Watcher.Event.KeeperState.SyncConnected) {
                connected.countDown();
            }
        });
        zk.addAuthInfo("digest", "java:secret".getBytes());
        if (!connected.await(20, TimeUnit.SECONDS)) {
            zk.close();
            return;
        }
        for (String node : List.of("/java", "/java/counter", "/java/left", "/java/right", "/java/p0", "/java/p1", "/java/p2", "/java/m0")) {
            counted("ensure", () -> zk.create(node, "0".getBytes(), OPEN, CreateMode.PERSISTENT));
        }
        long until = Math.min(end, System.nanoTime() + (long) (draw.nextDouble(3, 15) * 1e9));
        while (System.nanoTime() < until && zk.getState().isAlive()) {
            step();
            Thread.sleep(draw.nextInt(60));
        }
        if (draw.nextInt(4) == 0) {
            zk.leave();
        } else {
            zk.close();
        }
    }

    public static void main(String[] args) throws Exception {
        long end = System.nanoTime() + (long) (Double.parseDouble(args[1]) * 1e9);
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            Load load = new Load(args[0], Long.parseLong(args[2]) * 10 + i, args.length > 3);
            Thread thread = new Thread(() -> {
                try {
                    while (System.nanoTime() < end) {
                        load.live(end);
                    }
                } catch (Exception error) {
                    error.printStackTrace();
                }
            });
            thread.start();
            threads.add(thread);
        }
        for (Thread thread : threads) {
            thread.join();
        }
        counts.forEach((name, count) -> System.out.println(name + " " + count));
        System.exit(0);
    }
}
