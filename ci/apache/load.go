// A foreign client for ci/apache.sh: Go's samuel/go-zookeeper, through the proxy.
//
// load HOSTS SECONDS SEED: counters by compare-and-set, nodes of every kind, transactions, watches,
// an ACL. Errors are what it is for.
package main

import (
	"fmt"
	"math/rand"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/samuel/go-zookeeper/zk"
)

var (
	lock   sync.Mutex
	counts = map[string]int{}
)

func count(name string, err error) {
	outcome := "ok"
	if err != nil {
		outcome = err.Error()
	}
	lock.Lock()
	counts[name+" "+outcome]++
	lock.Unlock()
}

type quiet struct{}

func (quiet) Printf(string, ...interface{}) {}

func told(events <-chan zk.Event, err error) {
	if err == nil {
		go func() { count("told "+(<-events).Type.String(), nil) }()
	}
}

func step(c *zk.Conn, draw *rand.Rand, seed int64) {
	value := []byte(strconv.Itoa(draw.Intn(1 << 30)))
	open := zk.WorldACL(zk.PermAll)
	switch draw.Intn(8) {
	case 0:
		data, stat, err := c.Get("/go/counter")
		count("get", err)
		if err == nil {
			n, _ := strconv.Atoi(string(data))
			_, err = c.Set("/go/counter", []byte(strconv.Itoa(n+1)), stat.Version)
			count("set", err)
		}
	case 1:
		_, err := c.Multi(&zk.CheckVersionRequest{Path: "/go", Version: -1},
			&zk.SetDataRequest{Path: "/go/left", Data: value, Version: -1},
			&zk.SetDataRequest{Path: "/go/right", Data: value, Version: -1})
		count("pair", err)
	case 2:
		flags := draw.Int31n(4)
		path := fmt.Sprintf("/go/n%d", draw.Intn(6))
		if flags&zk.FlagSequence != 0 {
			path += "-"
		}
		_, err := c.Create(path, value, flags, open)
		count("create", err)
	case 3:
		names, _, events, err := c.ChildrenW("/go")
		count("children", err)
		told(events, err)
		for _, name := range names {
			if strings.HasPrefix(name, "n") && draw.Intn(4) == 0 {
				count("delete", c.Delete("/go/"+name, -1))
			}
		}
	case 4:
		_, _, events, err := c.ExistsW(fmt.Sprintf("/go/n%d", draw.Intn(6)))
		count("exists", err)
		told(events, err)
	case 5:
		path := fmt.Sprintf("/go/own-%d", seed)
		_, err := c.Create(path, value, 0, zk.AuthACL(zk.PermAll))
		count("own", err)
		_, _, events, err := c.GetW(path)
		count("own get", err)
		told(events, err)
		_, err = c.SetACL(path, zk.DigestACL(zk.PermAll, "go", "secret"), -1)
		count("own acl", err)
		count("own delete", c.Delete(path, -1))
	case 6:
		var group sync.WaitGroup
		for i := 0; i < 10; i++ {
			group.Add(1)
			go func(write bool) {
				defer group.Done()
				if write {
					_, err := c.Set("/go/left", value, -1)
					count("many", err)
				} else {
					_, _, err := c.Get("/go/right")
					count("many", err)
				}
			}(i%2 == 0)
		}
		group.Wait()
	default:
		_, err := c.Sync("/go")
		count("sync", err)
		_, _, err = c.Get("/go/left")
		count("get", err)
	}
}

// One session.
func live(hosts []string, end time.Time, draw *rand.Rand, seed int64) {
	c, _, err := zk.Connect(hosts, 4*time.Second)
	if err != nil {
		count("connect", err)
		return
	}
	c.SetLogger(quiet{})
	count("auth", c.AddAuth("digest", []byte("go:secret")))
	for _, node := range []string{"/go", "/go/counter", "/go/left", "/go/right"} {
		_, err := c.Create(node, []byte("0"), 0, zk.WorldACL(zk.PermAll))
		count("ensure", err)
	}
	until := time.Now().Add(time.Duration(3000+draw.Intn(12000)) * time.Millisecond)
	for time.Now().Before(until) && time.Now().Before(end) {
		step(c, draw, seed)
		time.Sleep(time.Duration(draw.Intn(60)) * time.Millisecond)
	}
	c.Close()
}

func main() {
	hosts := strings.Split(os.Args[1], ",")
	seconds, _ := strconv.Atoi(os.Args[2])
	seed, _ := strconv.ParseInt(os.Args[3], 10, 64)
	end := time.Now().Add(time.Duration(seconds) * time.Second)
	var group sync.WaitGroup
	for i := int64(0); i < 3; i++ {
		group.Add(1)
		go func(seed int64) {
			defer group.Done()
			draw := rand.New(rand.NewSource(seed))
			for time.Now().Before(end) {
				live(hosts, end, draw, seed)
			}
		}(seed*10 + i)
	}
	waited := make(chan struct{})
	go func() { group.Wait(); close(waited) }()
	select {
	case <-waited:
	case <-time.After(time.Duration(seconds+30) * time.Second):
		count("hangs", nil)
	}
	keys := []string{}
	for key := range counts {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		fmt.Println(key, counts[key])
	}
}
