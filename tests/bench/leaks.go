// SPDX-License-Identifier: MIT

// leaks leak COUNT SITES: that many goroutines leak at so many sites, by stacks of four frames as the digits of the site's number
// choose them (as many.c). leaks chain COUNT: each goroutine is reached only through the one before it, and
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

var sink int

// By the last digit of number, to its next frame.
func walk(number, left int) {
	if left == 0 {
		<-make(chan int)
	}
	digits[number%10](number/10, left-1)
}

var digits [10]func(int, int)

//go:noinline
func digit0(number, left int) { walk(number, left); sink += 0 }

//go:noinline
func digit1(number, left int) { walk(number, left); sink += 1 }

//go:noinline
func digit2(number, left int) { walk(number, left); sink += 2 }

//go:noinline
func digit3(number, left int) { walk(number, left); sink += 3 }

//go:noinline
func digit4(number, left int) { walk(number, left); sink += 4 }

//go:noinline
func digit5(number, left int) { walk(number, left); sink += 5 }

//go:noinline
func digit6(number, left int) { walk(number, left); sink += 6 }

//go:noinline
func digit7(number, left int) { walk(number, left); sink += 7 }

//go:noinline
func digit8(number, left int) { walk(number, left); sink += 8 }

//go:noinline
func digit9(number, left int) { walk(number, left); sink += 9 }

func leak(number int) { walk(number, 3) }

func link(wait, next chan int) {
	<-wait
	next <- 1
}

func main() {
	count, _ := strconv.Atoi(os.Args[2])
	sites := 1
	if len(os.Args) > 3 {
		sites, _ = strconv.Atoi(os.Args[3])
	}
	digits = [10]func(int, int){digit0, digit1, digit2, digit3, digit4, digit5, digit6, digit7, digit8, digit9}
	wait := make(chan int)
	if os.Args[1] == "chain" {
		first = wait
	}
	for i := 0; i < count; i++ {
		if os.Args[1] == "leak" {
			go leak(i % sites)
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
