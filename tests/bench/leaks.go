// SPDX-License-Identifier: MIT

// leaks leak COUNT: that many goroutines leak at one site. leaks chain COUNT: each goroutine is reached only through the one before it, and
// the first by a global variable. Prints how long each of five goroutineleak profiles took, in seconds.
package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"time"
)

var first chan int

func leak() { <-make(chan int) }

func link(wait, next chan int) {
	<-wait
	next <- 1
}

func main() {
	count, _ := strconv.Atoi(os.Args[2])
	wait := make(chan int)
	if os.Args[1] == "chain" {
		first = wait
	}
	for i := 0; i < count; i++ {
		if os.Args[1] == "leak" {
			go leak()
			continue
		}
		next := make(chan int)
		go link(wait, next)
		wait = next
	}
	for i := 0; i < 20; i++ {
		runtime.Gosched()
		time.Sleep(5 * time.Millisecond)
	}
	wait = nil
	for i := 0; i < 5; i++ {
		start := time.Now()
		pprof.Lookup("goroutineleak").WriteTo(io.Discard, 0)
		fmt.Printf("%.6f\n", time.Since(start).Seconds())
	}
	runtime.KeepAlive(first)
}
