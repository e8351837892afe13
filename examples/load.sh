#!/bin/bash
# SPDX-License-Identifier: MIT
# load.sh PORT [COUNT]: searches on a st_server at this machine over four connections at once, every second search for
# nothing. Prints the answers; exits 1 when one is not what it should be.
port=${1:?usage: load.sh PORT [COUNT]}
count=${2:-10}
wrong=0
connections=()

ask() {
	exec {connection}<>"/dev/tcp/127.0.0.1/$port" || exit 1
	connections+=("$connection")
	echo "GET /search?q=$1" >&"$connection"
}

# Takes the answers of all open connections: "200 ...", then "400 ...", and so on.
take() {
	local expected=200 connection answer

	for connection in "${connections[@]}"; do
		read -r answer <&"$connection"
		echo "$answer"
		[[ $answer == "$expected "* ]] || wrong=1
		exec {connection}>&-
		expected=$((600 - expected))
	done
	connections=()
}

for ((i = 0; i < count; i++)); do
	if ((i % 2)); then ask ""; else ask leak; fi
	if ((${#connections[@]} == 4)); then take; fi
done
take
exit $wrong
