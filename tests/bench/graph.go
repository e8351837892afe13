// SPDX-License-Identifier: MIT

// graph NODES BYTES POINTERS: the same heap as graph.c in Go, and one leaked goroutine. Prints how long each of five
// goroutineleak profiles took, and each of five collections of garbage: SECONDS SECONDS.
package main

import (
	"fmt"
	"io"
	"math/rand"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"time"
)

const turns = 5

// Nodes of fixed sizes: pointers first, numbers behind.
type node128 struct {
	pointers [4]*node128
	numbers  [12]uintptr
}
type node1024 struct {
	pointers [4]*node1024
	numbers  [124]uintptr
}
type node8192 struct {
	pointers [4]*node8192
	numbers  [1020]uintptr
}
type numbers1024 struct{ numbers [128]uintptr }

var root any

func build[N any](count int, pointers func(*N) []*N, used int) {
	index := make([]*N, count)
	for i := range index {
		index[i] = new(N)
	}
	if used == 0 {
		root = index
		return
	}
	rand.Shuffle(count, func(i, j int) { index[i], index[j] = index[j], index[i] })
	for i, node := range index {
		for j := 1; j < used; j++ {
			pointers(node)[j] = index[rand.Intn(count)]
		}
		if i+1 < count {
			pointers(node)[0] = index[i+1]
		}
	}
	root = index[0]
}

func leak() { <-make(chan int) }

func main() {
	count, _ := strconv.Atoi(os.Args[1])
	size, _ := strconv.Atoi(os.Args[2])
	used, _ := strconv.Atoi(os.Args[3])
	switch {
	case used == 0:
		build(count, func(n *numbers1024) []*numbers1024 { return nil }, 0)
	case size == 128:
		build(count, func(n *node128) []*node128 { return n.pointers[:] }, used)
	case size == 1024:
		build(count, func(n *node1024) []*node1024 { return n.pointers[:] }, used)
	case size == 8192:
		build(count, func(n *node8192) []*node8192 { return n.pointers[:] }, used)
	}
	go leak()
	time.Sleep(10 * time.Millisecond)
	runtime.GC()
	for i := 0; i < turns; i++ {
		start := time.Now()
		pprof.Lookup("goroutineleak").WriteTo(io.Discard, 0)
		profile := time.Since(start)
		start = time.Now()
		runtime.GC()
		fmt.Printf("%.6f %.6f\n", profile.Seconds(), time.Since(start).Seconds())
	}
	runtime.KeepAlive(root)
}
