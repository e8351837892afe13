#!/bin/bash
# SPDX-License-Identifier: MIT
# load.sh PORT [COUNT]: searches on a st_server at this machine, every second one for nothing.
port=${1:?usage: load.sh PORT [COUNT]}
for ((i = 0; i < ${2:-10}; i++)); do
	exec 3<>"/dev/tcp/127.0.0.1/$port" || exit 1
	if ((i % 2)); then echo "GET /search?q=" >&3; else echo "GET /search?q=leak" >&3; fi
	cat <&3
	exec 3<&- 3>&-
done
